package cloud

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

// hardware checks what vCenter would refuse at the start, where nobody knows
// any more which line asked for it.
func (c *checker) hardware(thing string, vm *VM) {
	if vm.GuestID != "" && !vcenter.KnownGuest(vm.GuestID) {
		c.add(thing, "guestID %q: vSphere knows no such guest", vm.GuestID)
	}
	if vm.CPUs < 0 || vm.CPUs > vcenter.MaxCPUs {
		c.add(thing, "cpus %d: want 1 to %d", vm.CPUs, vcenter.MaxCPUs)
	}
	if vm.CoresPerSocket < 0 {
		c.add(thing, "coresPerSocket %d: want a number from 1", vm.CoresPerSocket)
	}
	if vm.Memory > vcenter.MaxMemory {
		c.add(thing, "memory: a VM has 24 TiB at most")
	}
}

// hasRanges tells whether a network of the VDC has a pool of addresses; one
// that is not there is said elsewhere.
func (v *VDC) hasRanges(network string) bool {
	i := slices.IndexFunc(v.Networks, func(n OrgNetwork) bool { return n.Name == network })
	return i < 0 || len(v.Networks[i].Ranges) > 0
}

// metadataValue is what a value must be of its type, empty where it is that.
func metadataValue(kind, value string) string {
	switch kind {
	case "number":
		if _, err := strconv.ParseInt(value, 10, 64); err != nil {
			return "a whole number"
		}
	case "boolean":
		if value != "true" && value != "false" {
			return "true or false"
		}
	case "datetime":
		if _, err := time.Parse(time.RFC3339, value); err != nil {
			return "a time such as 2024-05-01T12:00:00Z"
		}
	}
	return ""
}

// images checks that the files are there that disks and media are made from.
func (inv *Inventory) images() []error {
	var problems []error
	check := func(thing, from string) {
		if from == "" {
			return
		}
		info, err := os.Stat(from)
		switch {
		case err != nil:
			problems = append(problems, fmt.Errorf("%s: from: %w", thing, err))
		case !info.Mode().IsRegular():
			problems = append(problems, fmt.Errorf("%s: from: %s is not a file", thing, from))
		}
	}
	inv.eachVM(func(p place, vm *VM) {
		for i := range vm.Disks {
			check(fmt.Sprintf("site %s: vm %s: disk %d", p.site.ID, p.path(vm), i), vm.Disks[i].From)
		}
	})
	for s := range inv.Sites {
		for o := range inv.Sites[s].Orgs {
			org := &inv.Sites[s].Orgs[o]
			for _, k := range org.Catalogs {
				for _, m := range k.Media {
					check(fmt.Sprintf("site %s: org %s: catalog %s: media %s", inv.Sites[s].ID, org.Name, k.Name, m.Name), m.From)
				}
			}
		}
	}
	return problems
}

// nulls finds list entries that say nothing, such as a dash with nothing
// behind it: each would be a thing without a name.
func nulls(path string, n *yaml.Node) []string {
	var found []string
	switch n.Kind {
	case yaml.DocumentNode:
		for _, child := range n.Content {
			found = append(found, nulls(path, child)...)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			found = append(found, nulls(strings.TrimPrefix(path+"."+n.Content[i].Value, "."), n.Content[i+1])...)
		}
	case yaml.SequenceNode:
		for i, child := range n.Content {
			at := fmt.Sprintf("%s[%d]", path, i)
			if child.Kind == yaml.ScalarNode && child.Tag == "!!null" {
				found = append(found, fmt.Sprintf("line %d: %s: an empty entry", child.Line, at))
			}
			found = append(found, nulls(at, child)...)
		}
	}
	return found
}
