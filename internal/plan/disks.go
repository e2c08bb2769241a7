package plan

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vcd"
	"github.com/vappvault/vappvault/internal/vsphere"
	"github.com/vappvault/vappvault/internal/wording"
)

// Attach is what a restore of single disks does with the VM that gets them as
// further ones.
const Attach = "attach"

// selectDisks plans the disks that are named, "VM:DISK": VM is a name, a URN
// or a UUID, DISK a device key or a label.
func selectDisks(o Options) planStep {
	return func(ctx context.Context, d *Deps, p *Plan, point *restorepoint.Point) error {
		chosen := p.chosenDisks(point, o.Disks)
		if p.Refused() != nil {
			return errStop
		}
		if o.AttachTo != "" {
			return p.planAttach(ctx, d, chosen, o.AttachTo)
		}
		for _, vm := range chosen.VMs {
			if p.live(&vm) == nil {
				p.conflict(KindVMGone, "vm "+vm.Name, "", "is not in the vApp any more: restore it (--vm), or attach its disk to another VM (--attach-to)")
			}
		}
		if p.Refused() != nil {
			return errStop
		}
		p.ExtraDisks = "" // the others are not looked at
		if err := p.planChosen(ctx, d, chosen); err != nil {
			return err
		}
		p.Conflicts = slices.DeleteFunc(p.Conflicts, func(c Conflict) bool { return c.Kind == KindAdded })
		return nil
	}
}

// chosenDisks is the restore point with nothing but the named disks.
func (p *Plan) chosenDisks(point *restorepoint.Point, names []string) *restorepoint.Point {
	out := *point
	out.VMs = nil
	for _, name := range names {
		at := strings.LastIndexByte(name, ':')
		owner, disk := name[:max(at, 0)], name[at+1:]
		found := false
		for i := range point.VMs {
			vm := &point.VMs[i]
			if vm.Name != owner && vm.ID != owner && restorepoint.UUID(vm.ID) != owner {
				continue
			}
			j := slices.IndexFunc(vm.Disks, func(d restorepoint.Disk) bool {
				return strconv.Itoa(int(d.Key)) == disk || strings.EqualFold(d.Label, disk)
			})
			if j >= 0 && vm.Missing == "" {
				out.VMs = addDisk(out.VMs, vm, vm.Disks[j])
				found = true
			}
		}
		if !found {
			p.conflict(KindNotInPoint, "disk "+name, "", "is not in the restore point, which has %s", orNone(disksOf(point)))
		}
	}
	return &out
}

func addDisk(vms []restorepoint.VM, of *restorepoint.VM, disk restorepoint.Disk) []restorepoint.VM {
	i := slices.IndexFunc(vms, func(vm restorepoint.VM) bool { return vm.ID == of.ID })
	if i < 0 {
		one := *of
		one.Disks, one.Unprotected = nil, nil
		vms, i = append(vms, one), len(vms)
	}
	if !slices.ContainsFunc(vms[i].Disks, func(d restorepoint.Disk) bool { return d.Key == disk.Key }) {
		vms[i].Disks = append(vms[i].Disks, disk)
	}
	return vms
}

func disksOf(point *restorepoint.Point) []string {
	var out []string
	for _, vm := range point.VMs {
		for _, d := range vm.Disks {
			out = append(out, vm.Name+":"+d.Label)
		}
	}
	return out
}

// planAttach plans to give a VM of the vApp the disks as further ones.
func (p *Plan) planAttach(ctx context.Context, d *Deps, chosen *restorepoint.Point, name string) error {
	i := slices.IndexFunc(p.Live.VMs, func(vm vcd.VM) bool { return vm.Name == name || vm.ID == name })
	if i < 0 {
		var have []string
		for _, vm := range p.Live.VMs {
			have = append(have, vm.Name)
		}
		p.conflict(KindVMGone, "vm "+name, "", "is not in the vApp, which has %s", orNone(have))
		return errStop
	}
	live := &p.Live.VMs[i]
	client, err := d.VSphere(ctx, live.VimInfo.VCenterHref)
	if err != nil {
		return err
	}
	config, err := client.VM(live.VimInfo.VMMoRef).Config(ctx)
	if err != nil {
		return fmt.Errorf("vm %s: read configuration: %w", name, err)
	}
	object := "vm " + live.Name
	if n := len(config.Snapshots); n > 0 {
		p.conflict(KindSnapshots, object, "", "has %s, and gets no disks while it has any", wording.Count(n, "snapshot"))
	}
	if config.PowerState == "suspended" {
		p.conflict(KindSuspended, object, "", "is suspended: resume it or switch it off first")
	}
	if live.Deployed && p.Refused() == nil {
		p.conflict(KindRuns, object, "switch it off for it, and on again afterwards", "runs")
	}
	for j := range chosen.VMs {
		vm := &chosen.VMs[j]
		plan := VM{
			Name: live.Name, Action: Attach, VM: vm, Live: live, LiveMoRef: live.VimInfo.VMMoRef, VimServerHref: live.VimInfo.VCenterHref,
			Home: config.VmPathName, SwitchOff: live.Deployed, Places: map[int32]vsphere.Attach{},
		}
		for _, disk := range vm.Disks {
			plan.Bytes += disk.Content.DataBytes
			place, ok := freePlace(config.Disks)
			if !ok {
				p.conflict(KindController, object, "", "has no unit free for another disk")
				return errStop
			}
			plan.Places[disk.Key] = place
			config.Disks = append(config.Disks, vsphere.Disk{ControllerType: place.Controller, BusNumber: place.Bus, Unit: place.Unit})
		}
		if err := planDatastores(ctx, d, client, p, &plan); err != nil {
			return err
		}
		p.VMs = append(p.VMs, plan)
	}
	return nil
}

// units is how many disks a controller takes.
var units = map[string]int32{"pvscsi": 16, "lsilogic": 16, "lsisas": 16, "buslogic": 16, "nvme": 15}

// freePlace finds a unit on a controller that the VM has disks on. SCSI goes
// first, by its number; SATA and IDE are left alone, where drives for media
// are as well.
func freePlace(disks []vsphere.Disk) (vsphere.Attach, bool) {
	var best vsphere.Attach
	found := false
	for _, d := range disks {
		n := units[d.ControllerType]
		for unit := range n {
			if n == 16 && unit == 7 { // the controller's own
				continue
			}
			at := vsphere.Attach{Controller: d.ControllerType, Bus: d.BusNumber, Unit: unit}
			if slices.ContainsFunc(disks, func(o vsphere.Disk) bool { return o.Attach().SamePlace(at) }) {
				continue
			}
			if !found || n == 16 && (units[best.Controller] != 16 || at.Bus < best.Bus) {
				best, found = at, true
			}
			break
		}
	}
	if !found && !slices.ContainsFunc(disks, func(d vsphere.Disk) bool { return units[d.ControllerType] == 16 }) {
		// On no SCSI controller yet: this adds one.
		return vsphere.Attach{Controller: "lsisas"}, true
	}
	return best, found
}

// diskSteps tells in words what a restore of single disks will do.
func (p *Plan) diskSteps() []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	undeployed := map[string]bool{}
	for _, vm := range p.VMs {
		if vm.Action != Leave && vm.Live.Deployed && !undeployed[vm.Name] {
			undeployed[vm.Name] = true
			add("undeploy vm %s", vm.Name)
		}
	}
	add("put vApp %s in maintenance mode; its other VMs and disks stay as they are", p.VAppName)
	for _, vm := range p.VMs {
		if vm.Action == Leave {
			continue
		}
		for _, d := range vm.VM.Disks {
			size := wording.Size(d.Content.DataBytes)
			if vm.Action == Attach {
				at := vm.Places[d.Key]
				add("write disk %s of vm %s to datastore %s, %s, and attach it to vm %s at %s %d:%d", d.Label, vm.VM.Name, vm.Disks[d.Key].Name, size, vm.Name, at.Controller, at.Bus, at.Unit)
				continue
			}
			add("write disk %s of vm %s to datastore %s, %s, and swap it in", d.Label, vm.Name, vm.Disks[d.Key].Name, size)
		}
	}
	add("read these disks back")
	if !p.KeepOld && p.options.AttachTo == "" {
		add("delete the disks that were replaced")
	}
	add("exit maintenance mode")
	for _, vm := range p.VMs {
		if vm.SwitchOff && undeployed[vm.Name] {
			undeployed[vm.Name] = false
			add("power on vm %s", vm.Name)
		}
	}
	return out
}
