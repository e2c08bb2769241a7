package restore

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// disks brings single disks back: into their places, or onto a VM as further
// ones. The other disks, and what the VMs' documents say, stay as they are.
func (r *run) disks(ctx context.Context) error {
	r.vapp = r.plan.Live
	off := map[string]bool{}
	for _, vp := range r.plan.VMs {
		if vp.Action == plan.Leave || off[vp.Live.ID] {
			continue
		}
		off[vp.Live.ID] = true
		if vp.SwitchOff {
			r.switchedOff = append(r.switchedOff, *vp.Live)
		}
		if err := r.undeployVM(ctx, *vp.Live); err != nil {
			return err
		}
	}
	if err := r.enter(ctx); err != nil {
		return err
	}
	if r.plan.Mode == plan.ModeDisks && !r.attaches() {
		if err := r.prepare(ctx); err != nil {
			return err
		}
	}
	for i := range r.plan.VMs {
		vp := &r.plan.VMs[i]
		if vp.Action == plan.Leave {
			continue
		}
		if err := r.step(ctx, vp.Action+" disks of vm "+vp.Name, func(ctx context.Context) error { return r.swapVM(ctx, i, vp) }); err != nil {
			return err
		}
		r.result.VMs = append(r.result.VMs, VMResult{
			Name: vp.Name, Action: vp.Action, OldID: vp.VM.ID, NewID: vp.Live.ID,
			OldMoRef: vp.VM.MoRef, NewMoRef: vp.LiveMoRef, Disks: len(vp.VM.Disks), Bytes: vp.Bytes, Transport: r.through[vp.Name],
		})
	}
	r.result.VAppID, r.result.VAppName = r.vapp.ID, r.vapp.Name
	return nil
}

// attaches tells whether the plan gives VMs further disks.
func (r *run) attaches() bool {
	return slices.ContainsFunc(r.plan.VMs, func(vm plan.VM) bool { return vm.Action == plan.Attach })
}

// applyDisks gives the disks that were attached their storage profiles.
func (r *run) applyDisks(ctx context.Context) error {
	if !r.attaches() {
		return nil
	}
	return r.step(ctx, "apply storage profiles", func(ctx context.Context) error {
		for _, vp := range r.plan.VMs {
			if vp.Action != plan.Attach {
				continue
			}
			for _, d := range vp.VM.Disks {
				if err := r.profileAttached(ctx, vp, d.Key); err != nil {
					return fmt.Errorf("vm %s: disk %s: %w", vp.Name, d.Label, err)
				}
			}
		}
		return nil
	})
}

// profileAttached gives one attached disk the profile that it had, where the
// VDC has it.
func (r *run) profileAttached(ctx context.Context, vp plan.VM, key int32) error {
	was, err := r.docs.Tree(vmPath(vp.VM.ID, "vm.xml"))
	if err != nil || was == nil {
		return err
	}
	name := ""
	for _, d := range was.Root().FindElements("./VmSpecSection/DiskSection/DiskSettings") {
		if document.Text(d, "DiskId") == strconv.Itoa(int(key)) {
			name = document.AttributeOf(d, "name", "StorageProfile")
		}
	}
	href := r.plan.Profiles[name]
	if href == "" {
		return nil
	}
	disk, err := r.attached(ctx, vp, key)
	if err != nil {
		return err
	}
	doc, err := r.VCD.Get(ctx, vp.Live.Href)
	if err != nil {
		return err
	}
	now, err := document.Parse(doc.Raw)
	if err != nil {
		return err
	}
	for _, d := range now.Root().FindElements("./VmSpecSection/DiskSection/DiskSettings") {
		profile, own := document.Find(d, "StorageProfile"), document.Find(d, "overrideVmDefault")
		if document.Text(d, "DiskId") != strconv.Itoa(int(disk.Key)) || profile == nil || own == nil || document.Attribute(profile, "name") == name {
			continue
		}
		document.SetAttribute(profile, "href", href)
		document.SetAttribute(profile, "name", name)
		document.RemoveAttribute(profile, "id")
		own.SetText("true")
		return r.sendSpec(ctx, vp.Live.Href, now)
	}
	return nil
}

// attached finds a disk that was attached in the VM.
func (r *run) attached(ctx context.Context, vp plan.VM, key int32) (vsphere.Disk, error) {
	client, err := r.VSphere(ctx, vp.VimServerHref)
	if err != nil {
		return vsphere.Disk{}, err
	}
	config, err := client.VM(vp.LiveMoRef).Config(ctx)
	if err != nil {
		return vsphere.Disk{}, fmt.Errorf("read configuration: %w", err)
	}
	for _, d := range config.Disks {
		if d.Attach().SamePlace(vp.Places[key]) {
			return d, nil
		}
	}
	return vsphere.Disk{}, fmt.Errorf("nothing at its place: %w", vsphere.ErrNotFound)
}

// readBackDisks makes sure that every disk is where it was to be, and that
// vCD knows it.
func (r *run) readBackDisks(ctx context.Context) error {
	now, err := r.VCD.VApp(ctx, r.vapp.ID)
	if err != nil {
		return err
	}
	r.vapp = now
	for _, vp := range r.plan.VMs {
		if vp.Action == plan.Leave {
			continue
		}
		for _, d := range vp.VM.Disks {
			key, size := d.Key, d.Content.Size
			if vp.Action == plan.Attach {
				disk, err := r.attached(ctx, vp, d.Key)
				if err != nil {
					return fmt.Errorf("vm %s: disk %s: %w", vp.Name, d.Label, err)
				}
				key = disk.Key
			}
			r.result.Compared++
			if got := r.capacity(vp.Live.ID, key); got != size {
				r.result.Differences = append(r.result.Differences, document.Difference{
					Document: "vcd/vms/" + strings.TrimPrefix(vp.Live.ID, "urn:vcloud:vm:") + "/vm.xml", Field: "disk " + d.Label,
					Want: strconv.FormatInt(size, 10), Got: strconv.FormatInt(got, 10),
				})
			}
		}
	}
	return nil
}

// capacity is that of a disk of a VM, as vCD tells it; 0 without such a disk.
func (r *run) capacity(vm string, key int32) int64 {
	for _, v := range r.vapp.VMs {
		for _, d := range v.Disks {
			if v.ID == vm && d.InstanceID == strconv.Itoa(int(key)) {
				return d.Capacity
			}
		}
	}
	return 0
}
