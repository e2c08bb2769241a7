package app

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/restorepoint"
)

// best fills a partial point: each VM whose disks it lacks is taken from the
// newest earlier point of the same vApp that has them.
func best(ctx context.Context, repo *repository.Repository, point *restorepoint.Point) error {
	missing := func(vm restorepoint.VM) bool { return vm.Missing != "" }
	if !slices.ContainsFunc(point.VMs, missing) {
		return nil
	}
	points, err := repo.Points(ctx)
	if err != nil {
		return fmt.Errorf("list earlier restore points: %w", err)
	}
	slices.SortFunc(points, func(a, b restorepoint.Summary) int { return strings.Compare(b.ID, a.ID) })
	for _, p := range points {
		if p.VApp.ID != point.VApp.ID || p.ID >= point.ID {
			continue
		}
		if !slices.ContainsFunc(point.VMs, missing) {
			return nil
		}
		earlier, err := repo.Load(ctx, p.ID)
		if err != nil {
			return err
		}
		for i, vm := range point.VMs {
			j := slices.IndexFunc(earlier.VMs, func(e restorepoint.VM) bool { return e.ID == vm.ID && e.Missing == "" })
			if missing(vm) && j >= 0 {
				point.VMs[i] = earlier.VMs[j]
				point.VMs[i].From = earlier.ID
			}
		}
	}
	return nil
}
