package restore

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/journal"
	"github.com/vappvault/vappvault/internal/mark"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/vcd"
)

// applyNamed attaches the named disks of the VMs again, and makes those anew
// that are gone, where that was asked for.
func (r *run) applyNamed(ctx context.Context) error {
	n := 0
	for _, vp := range r.plan.VMs {
		for _, d := range vp.Named {
			href := ""
			for _, res := range r.result.VMs {
				if vp.VM != nil && res.OldID == vp.VM.ID {
					href = r.VCD.Href(res.NewID)
				}
			}
			if href == "" || d.Action != plan.NamedAttach && d.Action != plan.NamedCreate {
				continue
			}
			n++
			if err := r.namedDisk(ctx, href, vp.Name, d, n); err != nil {
				return fmt.Errorf("vm %s: named disk %s: %w", vp.Name, d.Name, err)
			}
		}
	}
	return nil
}

func (r *run) namedDisk(ctx context.Context, vmHref, vm string, d plan.NamedDisk, n int) error {
	was := d.ID
	if d.Action == plan.NamedCreate {
		href, err := r.createNamed(ctx, d, n)
		if err != nil {
			return err
		}
		d.Href, d.ID = href, vcd.URN(href)
	}
	detail := map[string]string{mark.VM: vm, mark.Name: d.Name, "vm-href": vmHref}
	err := r.intend(ctx, journal.Intent{Kind: mark.AttachDisk, Object: d.Href, Detail: detail}, "detach named disk "+d.Name,
		func(ctx context.Context) error { return Detach(ctx, r.VCD, vmHref, d.Href) })
	if err != nil {
		return err
	}
	err = r.VCD.AttachDisk(ctx, vmHref, d.Href, d.Bus, d.Unit)
	var refused *vcd.Error
	if errors.As(err, &refused) && refused.Status == 400 {
		// The place may be on a shared bus, which a rebuilt VM does not have.
		if err = r.VCD.AttachDisk(ctx, vmHref, d.Href, -1, -1); err == nil {
			r.warn(vm, fmt.Sprintf("named disk %s could not be attached at %d:%d and is at another place", d.Name, d.Bus, d.Unit))
		}
	}
	if err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	r.did("attach " + d.Name)
	r.result.Disks = append(r.result.Disks, DiskResult{Name: d.Name, VM: vm, Action: d.Action, OldID: was, NewID: d.ID})
	return nil
}

// createNamed makes an empty named disk as the restore point's documents
// describe it. Until it is known by its href it bears a name of ours.
func (r *run) createNamed(ctx context.Context, d plan.NamedDisk, n int) (string, error) {
	path := "vcd/context/disks/" + vcd.UUID(d.ID)
	doc, err := r.docs.Tree(path + ".xml")
	if err != nil {
		return "", err
	}
	if doc == nil {
		return "", errors.New("the restore point does not describe it")
	}
	root := doc.Root()
	size, err := strconv.ParseInt(document.Attribute(root, "sizeMb"), 10, 64)
	if err != nil {
		return "", fmt.Errorf("document %s.xml: size: %w", path, err)
	}
	disk := vcd.NamedDisk{
		Name: mark.ScratchName(r.id, "disk-"+strconv.Itoa(n)), Description: document.Text(root, "Description"), SizeMB: size,
		BusType: document.Attribute(root, "busType"), BusSubType: document.Attribute(root, "busSubType"), Sharing: document.Attribute(root, "sharingType"),
		StorageProfileHref: r.plan.Profiles[document.AttributeOf(root, "name", "StorageProfile")],
	}
	href, temporary := "", disk.Name
	err = r.intend(ctx, journal.Intent{Kind: mark.NewDisk, Object: temporary, Detail: map[string]string{mark.Name: d.Name}}, "delete named disk "+d.Name,
		func(ctx context.Context) error { return RemoveDisk(ctx, r.VCD, href, temporary) })
	if err != nil {
		return "", err
	}
	intent := r.undo[len(r.undo)-1].intent
	if href, err = r.VCD.CreateDisk(ctx, r.plan.VDC.Href, disk); err != nil {
		return "", err
	}
	r.did("create " + d.Name)
	if err := r.Journal.Amend(ctx, intent, map[string]string{"href": href}); err != nil {
		return "", err
	}
	disk.Name = d.Name
	if err := r.VCD.UpdateDisk(ctx, href, disk); err != nil {
		return "", fmt.Errorf("name it: %w", err)
	}
	if err := r.setMetadata(ctx, path+".metadata.xml", href); err != nil {
		return "", err
	}
	return href, r.ownNamed(ctx, path+".owner.xml", href)
}

// ownNamed gives a named disk to the user who owned it.
func (r *run) ownNamed(ctx context.Context, path, href string) error {
	doc, err := r.docs.Tree(path)
	if err != nil || doc == nil {
		return err
	}
	name := document.AttributeOf(doc.Root(), "name", "User")
	user, err := r.VCD.UserByName(ctx, r.plan.Org.ID, name)
	if errors.Is(err, vcd.ErrNoUser) {
		return nil // the system's, or somebody who is gone
	}
	if err != nil {
		return fmt.Errorf("user %s: %w", name, err)
	}
	return r.VCD.SetOwner(ctx, href, user.Href)
}

// Detach takes a named disk from a VM, where both are there and it is on it.
func Detach(ctx context.Context, c *vcd.Client, vmHref, diskHref string) error {
	vms, err := c.AttachedVMs(ctx, diskHref)
	if vcd.IsNotFound(err) || vcd.IsForbidden(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, vm := range vms {
		if vm == vcd.URN(vmHref) {
			return c.DetachDisk(ctx, vmHref, diskHref)
		}
	}
	return nil
}

// RemoveDisk deletes a named disk that a restore made: by its href, or where
// that is not known by the name that it bore at first.
func RemoveDisk(ctx context.Context, c *vcd.Client, href, temporary string) error {
	hrefs := []string{href}
	if href == "" {
		var err error
		if hrefs, err = c.DisksNamed(ctx, temporary); err != nil {
			return fmt.Errorf("find disk %s: %w", temporary, err)
		}
	}
	var errs []error
	for _, h := range hrefs {
		errs = append(errs, c.DeleteDisk(ctx, h))
	}
	return errors.Join(errs...)
}
