package diff

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// disks compares the disks of a VM.
func (c *comparison) disks(ctx context.Context, p pair) error {
	for _, vm := range []*restorepoint.VM{p.a, p.b} {
		if vm != nil && vm.Hold() != restorepoint.Held {
			if p.a != nil && p.b != nil {
				c.result.Notes = append(c.result.Notes, fmt.Sprintf("vm %s: its disks are not compared: %s", p.name(), vm.Missing))
			}
			return nil
		}
	}
	was, is := disksOf(p.a), disksOf(p.b)
	for i := range was {
		var out Disk
		switch j := counterpart(&was[i], is, was); {
		case j < 0:
			out = disk(p, Removed, &was[i], nil)
		default:
			out = disk(p, Kept, &was[i], &is[j])
			set, err := c.contents(ctx, p, &was[i], &is[j])
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case err != nil:
				out.Unknown = err.Error()
			default:
				n := set.Bytes()
				out.Changed = &n
			}
		}
		c.result.Disks = append(c.result.Disks, out)
	}
	for j := range is {
		if !slices.ContainsFunc(was, func(d restorepoint.Disk) bool { return counterpart(&d, is, was) == j }) {
			c.result.Disks = append(c.result.Disks, disk(p, Added, nil, &is[j]))
		}
	}
	return nil
}

// disksOf are all disks of a VM, those that are not in the point included.
func disksOf(vm *restorepoint.VM) []restorepoint.Disk {
	if vm == nil {
		return nil
	}
	all := slices.Concat(vm.Disks, vm.Unprotected)
	slices.SortStableFunc(all, func(x, y restorepoint.Disk) int { return int(x.Key) - int(y.Key) })
	return all
}

// counterpart finds a disk among those of the other side: by its UUID, which
// stays when it is plugged in elsewhere, else by its key. -1: there is none.
func counterpart(d *restorepoint.Disk, others, own []restorepoint.Disk) int {
	byUUID := func(id string, list []restorepoint.Disk) int {
		if id == "" {
			return -1
		}
		return slices.IndexFunc(list, func(o restorepoint.Disk) bool { return strings.EqualFold(o.UUID, id) })
	}
	if i := byUUID(d.UUID, others); i >= 0 {
		return i
	}
	return slices.IndexFunc(others, func(o restorepoint.Disk) bool { return o.Key == d.Key && byUUID(o.UUID, own) < 0 })
}

func disk(p pair, change string, was, is *restorepoint.Disk) Disk {
	out := Disk{VM: p.name(), Change: change}
	if was != nil {
		out.Disk, out.Key, out.SizeWas = was.Label, was.Key, was.Content.Size
	}
	if is != nil {
		out.Disk, out.Key, out.SizeIs = is.Label, is.Key, is.Content.Size
	}
	if was == nil || is == nil {
		return out
	}
	// Snapshots put a number behind a file's name, which means nothing. Where
	// the VM's folder is called otherwise, its datastore still counts.
	if x, y := datastore(was.FileName), datastore(is.FileName); x != y {
		out.FileWas, out.FileIs = was.FileName, is.FileName
	}
	out.Replaced = was.UUID != "" && is.UUID != "" && !strings.EqualFold(was.UUID, is.UUID)
	return out
}

func datastore(file string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(file, "["), "] ")
	return name
}

// contents returns the areas in which a disk differs from what it was; the
// error says why they are not known.
func (c *comparison) contents(ctx context.Context, p pair, was, is *restorepoint.Disk) (extent.Set, error) {
	live := c.b.Point.ID == ""
	switch {
	case was.Content.Object == "":
		return nil, unread(was)
	case !live && is.Content.Object == "":
		return nil, unread(is)
	case !live:
		if c.o.Contents == nil {
			return nil, errors.New("not compared")
		}
		return c.o.Contents(ctx, was.Content, is.Content)
	}
	ask := c.b.changed[diskID{p.b.ID, is.Key}]
	switch {
	case was.Content.Size != is.Content.Size:
		return nil, needsRead("its capacity changed")
	case was.Key != is.Key || p.a.VCenter != p.b.VCenter || p.a.MoRef != p.b.MoRef:
		return nil, needsRead("it is in another VM or place than it was")
	case was.UUID != is.UUID:
		return nil, needsRead("it is another disk")
	case was.ChangeID == "":
		return nil, needsRead("changes were not tracked when the restore point was made")
	case !vsphere.SameEpoch(was.ChangeID, is.ChangeID):
		return nil, needsRead("changed block tracking was off or reset since")
	case ask == nil:
		return nil, needsRead("vSphere was not asked")
	}
	return ask(ctx, was.ChangeID)
}

func needsRead(why string) error { return errors.New(why + "; it would have to be read") }
