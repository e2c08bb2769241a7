package diff

import (
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/mark"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vcd"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// Deps are what a vApp is looked at with.
type Deps struct {
	VCD *vcd.Client
	// VSphere returns the client of the vCenter that vCD knows by the given
	// reference (the href of its vimServer).
	VSphere func(ctx context.Context, vimServerHref string) (*vsphere.Client, error)
	Site    restorepoint.Ref
}

// Live makes a Side of a vApp (URN) as it is now. It only reads, and holds
// nothing still: what changes meanwhile may be in it by half. A VM that
// vSphere does not tell about is in it without disks.
func Live(ctx context.Context, d Deps, vappID string) (Side, error) {
	capture, err := d.VCD.Capture(ctx, vappID)
	if err != nil {
		return Side{}, err
	}
	v := capture.VApp
	s := looking{docs: map[string][]byte{}, changed: map[diskID]since{}}
	for name, raw := range capture.Files {
		if path.Base(name) == "metadata.xml" {
			if raw, err = restorepoint.WithoutMetadata(raw, mark.MetadataPrefix); err != nil {
				return Side{}, fmt.Errorf("document %s: %w", name, err)
			}
		}
		s.docs[name] = raw
	}
	point := &restorepoint.Point{
		Started: time.Now().UTC(), Site: d.Site, Absent: capture.Absent,
		Org:  restorepoint.Ref{ID: v.Org.ID, Name: v.Org.Name, Href: v.Org.Href},
		VDC:  restorepoint.Ref{ID: v.VDC.ID, Name: v.VDC.Name, Href: v.VDC.Href},
		VApp: restorepoint.Ref{ID: v.ID, Name: v.Name, Href: v.Href},
	}
	for _, vm := range v.VMs {
		rec := restorepoint.VM{Ref: restorepoint.Ref{ID: vm.ID, Name: vm.Name, Href: vm.Href}, MoRef: vm.VimInfo.VMMoRef, VCenterHref: vm.VimInfo.VCenterHref}
		if err := s.look(ctx, d, &rec); err != nil {
			if ctx.Err() != nil {
				return Side{}, ctx.Err()
			}
			rec.Missing = err.Error()
		}
		point.VMs = append(point.VMs, rec)
	}
	out, err := captured(point, s.docs)
	out.changed = s.changed
	return out, err
}

// looking is a vApp that is being looked at.
type looking struct {
	docs    map[string][]byte
	changed map[diskID]since
}

// look takes a VM's disks from vSphere.
func (s *looking) look(ctx context.Context, d Deps, rec *restorepoint.VM) error {
	if rec.MoRef == "" {
		return errors.New("vCD names no vSphere VM: is the account a system administrator?")
	}
	client, err := d.VSphere(ctx, rec.VCenterHref)
	if err != nil {
		return err
	}
	vm := client.VM(rec.MoRef)
	config, err := vm.Config(ctx)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	rec.VCenter, rec.InstanceUUID, rec.PowerState = client.InstanceUUID(), config.InstanceUUID, config.PowerState
	dir := "vsphere/" + restorepoint.UUID(rec.ID) + "/"
	s.docs[dir+"config.xml"] = config.Raw
	for _, disk := range config.Disks {
		rec.Disks = append(rec.Disks, restorepoint.Disk{
			Key: disk.Key, UUID: disk.UUID, Label: disk.Label, FileName: disk.FileName, ChangeID: disk.ChangeID,
			Content: restorepoint.DiskContent{Size: disk.Capacity},
		})
		s.changed[diskID{rec.ID, disk.Key}] = func(ctx context.Context, changeID string) (extent.Set, error) {
			if config.PowerState != "poweredOff" {
				return nil, needsRead("the VM is not switched off, and vSphere tells what changed on a disk in use only against a snapshot")
			}
			set, err := vm.ChangedSince(ctx, disk, changeID)
			if err != nil {
				return nil, needsRead(err.Error())
			}
			return set, nil
		}
	}
	return nil
}
