package app

import (
	"fmt"
	"slices"

	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/selection"
)

// withVMs adds to the VMs that a request names those that its reference
// names, ORG/VDC/VAPP/VM@WHEN.
func withVMs(names []string, pattern string, point *restorepoint.Point) ([]string, error) {
	if pattern == "" {
		return names, nil
	}
	out := slices.Clone(names)
	for _, vm := range point.VMs {
		if selection.MatchVM(pattern, vm.Name) && !slices.Contains(out, vm.Name) {
			out = append(out, vm.Name)
		}
	}
	if len(out) == len(names) {
		return nil, fmt.Errorf("restore point %s: vm %s: %w", point.ID, pattern, selection.ErrNoMatch)
	}
	return out, nil
}
