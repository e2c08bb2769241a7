package app

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/vappvault/vappvault/internal/backup"
	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/selection"
	"github.com/vappvault/vappvault/internal/vsphere"
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

// diskNames resolves the selectors of disks to disks of the restore point,
// "VM-UUID:KEY".
func diskNames(ctx context.Context, repo *repository.Repository, point *restorepoint.Point, words []string) ([]string, error) {
	var out []string
	for _, word := range words {
		if resolved(point, word) { // of a saved plan
			out = append(out, word)
			continue
		}
		sel, err := selection.ParseDisk(word)
		if err != nil {
			return nil, err
		}
		found := false
		for _, vm := range point.VMs {
			item := pointItem(point.Summary())
			item.VM, item.URN = vm.Name, vm.ID
			if !sel.MatchesVM(item) {
				continue // what is damaged of it does not matter
			}
			drives, err := drivesOf(ctx, repo, point, vm)
			if errors.Is(err, repository.ErrNotFound) {
				continue // a VM that is not in the point
			}
			if err != nil {
				return nil, fmt.Errorf("restore point %s: vm %s: %w", point.ID, vm.Name, err)
			}
			for _, d := range drives {
				if sel.Matches(item, d) {
					found = true
					out = append(out, fmt.Sprintf("%s:%d", restorepoint.UUID(vm.ID), d.Key))
				}
			}
		}
		if !found {
			return nil, fmt.Errorf("restore point %s: disk %s: %w", point.ID, word, selection.ErrNoMatch)
		}
	}
	return out, nil
}

// drivesOf returns the disks that a VM of a restore point had, protected or
// not, as selectors know them: the manifest has no buses, the configuration of
// the VM does.
func drivesOf(ctx context.Context, repo *repository.Repository, point *restorepoint.Point, vm restorepoint.VM) ([]selection.Drive, error) {
	raw, err := repo.Document(ctx, point.ID, "vsphere/"+restorepoint.UUID(vm.ID)+"/config.xml")
	if err != nil {
		return nil, err
	}
	config, err := vsphere.ParseConfig(raw)
	if err != nil {
		return nil, err
	}
	var out []selection.Drive
	for _, d := range config.Disks {
		out = append(out, backup.Drive(d))
	}
	return out, nil
}

// resolved tells whether a word names a disk as diskNames does.
func resolved(point *restorepoint.Point, word string) bool {
	for _, vm := range point.VMs {
		for _, d := range vm.Disks {
			if word == fmt.Sprintf("%s:%d", restorepoint.UUID(vm.ID), d.Key) {
				return true
			}
		}
	}
	return false
}
