package plan

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vcd"
	"github.com/vappvault/vappvault/internal/wording"
)

// A need is what the plan takes in addition.
type need struct {
	vms, nics     int
	cpus          int64
	memoryMB      int64
	storageMB     int64            // of VMs that are made
	profiles      map[string]int64 // MB by storage profile
	deployed      bool             // they will run
	allCPU, allMB int64            // of all VMs, overwritten ones too
}

func (p *Plan) needs(d *Deps) (*need, error) {
	n := &need{profiles: map[string]int64{}, deployed: p.Power != PowerOff}
	for i := range p.VMs {
		vm := &p.VMs[i]
		if vm.Action != Rebuild {
			continue
		}
		n.vms++
		n.nics += len(vm.NICs)
		root, err := vmTree(d, vm.VM)
		if err != nil {
			return nil, fmt.Errorf("vm %s: %w", vm.Name, err)
		}
		profiles := map[string]string{}
		if root != nil {
			spec := document.Find(root, "VmSpecSection")
			if spec != nil {
				cpus, _ := strconv.ParseInt(document.Text(spec, "NumCpus"), 10, 64)
				memory, _ := strconv.ParseInt(document.Text(spec, "MemoryResourceMb", "Configured"), 10, 64)
				n.cpus, n.memoryMB = n.cpus+cpus, n.memoryMB+memory
			}
			for _, e := range root.FindElements("./VmSpecSection/DiskSection/DiskSettings") {
				profiles[document.Text(e, "DiskId")] = document.AttributeOf(e, "name", "StorageProfile")
			}
			profiles[""] = document.AttributeOf(root, "name", "StorageProfile")
		}
		for _, disk := range vm.VM.Disks {
			mb := disk.Content.Size >> 20
			n.storageMB += mb
			name := profiles[strconv.Itoa(int(disk.Key))]
			if name == "" {
				name = profiles[""]
			}
			n.profiles[p.StorageProfiles[name]] += mb
		}
	}
	return n, nil
}

// planQuota refuses VMs that the VDC, the organization or the owner may not
// have. vCD counts some things otherwise, those of templates for one, and
// refuses itself where that makes the difference, when the disks have been
// written.
func planQuota(ctx context.Context, d *Deps, p *Plan, _ *restorepoint.Point) error {
	own, err := p.needs(d)
	if err != nil {
		return err
	}
	if own.vms == 0 {
		return nil
	}
	p.need = own
	n := d.Batch.with(own, p.VDC.ID)
	p.profileRoom(n)
	if err := p.vdcRoom(ctx, d, n); err != nil {
		return err
	}
	n = d.Batch.with(own, p.Org.ID)
	limits, err := d.VCD.OrgLimits(ctx, p.Org.ID)
	if err != nil {
		return fmt.Errorf("settings of organization %s: %w", p.Org.Name, err)
	}
	if limits != nil && limits.StoredVMs > 0 && p.inOrg+n.vms > limits.StoredVMs {
		p.conflict(KindQuota, "organization "+p.Org.Name, "", "has %d VMs and a quota of %d: there is no room for %d more", p.inOrg, limits.StoredVMs, n.vms)
	}
	if err := p.poolRoom(ctx, d, n, "orgs", p.Org, "organization "+p.Org.Name); err != nil {
		return err
	}
	if p.Owner.ID != "" {
		return p.poolRoom(ctx, d, d.Batch.with(own, p.Owner.ID), "users", p.Owner, "user "+p.Owner.Name)
	}
	return nil
}

func (p *Plan) profileRoom(n *need) {
	for _, name := range slices.Sorted(maps.Keys(n.profiles)) {
		use, known := p.use[name]
		if free := max(0, use.LimitMB-use.UsedMB); known && use.LimitMB > 0 && n.profiles[name] > free {
			p.add(Conflict{Kind: KindQuota, Object: "storage profile " + name, Override: "--storage-profile " + flagName(name) + "=NEW"},
				"has %s left of its limit in VDC %s, and the disks take %s", wording.Size(free<<20), p.VDC.Name, wording.Size(n.profiles[name]<<20))
		}
	}
}

func (p *Plan) vdcRoom(ctx context.Context, d *Deps, n *need) error {
	v, object := p.vdc, "VDC "+p.VDC.Name
	if v.VMQuota > 0 && p.inVDC+n.vms > v.VMQuota {
		p.add(Conflict{Kind: KindQuota, Object: object, Override: "--vdc NAME"}, "has %d VMs and a quota of %d: there is no room for %d more", p.inVDC, v.VMQuota, n.vms)
	}
	if v.NICQuota > 0 {
		used, err := nicsIn(ctx, d, p.VDC.ID)
		if err != nil {
			return fmt.Errorf("NICs of VDC %s: %w", p.VDC.Name, err)
		}
		if used+n.nics > v.NICQuota {
			p.add(Conflict{Kind: KindQuota, Object: object, Override: "--vdc NAME"}, "has %d NICs and a quota of %d: there is no room for %d more", used, v.NICQuota, n.nics)
		}
	}
	built := 0
	for _, net := range p.VAppNetworks {
		if net.Mode != modeBridged {
			built++
		}
	}
	if v.NetworkQuota > 0 && built > 0 && p.Live == nil && v.UsedNetworks+built > v.NetworkQuota {
		p.add(p.onlyOff(Conflict{Kind: KindQuota, Object: object, Override: "--vdc NAME"}),
			"has %d networks and a quota of %d: those of the vApp cannot be built when it is switched on", v.UsedNetworks, v.NetworkQuota)
	}
	if free, bound := v.Memory.Left(); bound && n.memoryMB > free {
		p.add(p.onlyOff(Conflict{Kind: KindCapacity, Object: object, Override: "--vdc NAME"}),
			"has %s of memory left, and the VMs take %s when they run", wording.Size(free<<20), wording.Size(n.memoryMB<<20))
	}
	if free, bound := v.CPU.Left(); bound && n.cpus*vcpuMHz > free {
		p.add(p.onlyOff(Conflict{Kind: KindCapacity, Object: object, Override: "--vdc NAME"}),
			"has %d MHz left, and the VMs take %d MHz when they run", free, n.cpus*vcpuMHz)
	}
	return nil
}

// vcpuMHz is what vCD counts a virtual CPU as, where nobody set it otherwise.
const vcpuMHz = 1000

// onlyOff resolves what hinders VMs from running: they come back switched
// off, unless it was asked that they run.
func (p *Plan) onlyOff(c Conflict) Conflict {
	if p.Power == PowerOff {
		c.Resolution = "restore it, switched off"
	}
	return c
}

// nicsIn counts the NICs of the VMs of a VDC.
func nicsIn(ctx context.Context, d *Deps, vdc string) (int, error) {
	vapps, err := d.VCD.VApps(ctx, "vdc=="+d.VCD.Href(vdc))
	if err != nil {
		return 0, err
	}
	used := 0
	for _, v := range vapps {
		if v.VDCID != vdc {
			continue
		}
		vapp, err := d.VCD.VApp(ctx, v.ID)
		if vcd.IsNotFound(err) || vcd.IsForbidden(err) {
			continue
		}
		if err != nil {
			return 0, err
		}
		for _, vm := range vapp.VMs {
			used += len(vm.NICs)
		}
	}
	return used, nil
}

// poolRoom compares what the plan takes with the quotas of an organization or
// a user.
func (p *Plan) poolRoom(ctx context.Context, d *Deps, n *need, kind string, who restorepoint.Ref, object string) error {
	quotas, err := d.VCD.Quotas(ctx, kind, who.ID)
	if err != nil {
		return fmt.Errorf("quotas of %s: %w", object, err)
	}
	for _, q := range quotas {
		var more int64
		var what string
		switch {
		case q.Resource == "storage":
			more, what = n.storageMB, "MB of storage"
		case q.Resource == "memory":
			more, what = n.memoryMB, "MB of memory for VMs that run"
		case q.Resource == "cpu":
			more, what = n.cpus*vcpuMHz, "MHz for VMs that run"
		case q.Running():
			more, what = int64(n.vms), "VMs that run"
		default:
			more, what = int64(n.vms), "VMs"
		}
		if q.Limit < 0 || q.Used+more <= q.Limit {
			continue
		}
		c := Conflict{Kind: KindQuota, Object: object}
		if kind == "users" {
			c.Override = "--owner NAME"
		}
		if q.Running() {
			c = p.onlyOff(c)
		}
		p.add(c, "has %d %s and a quota of %d: there is no room for %d more", q.Used, what, q.Limit, more)
	}
	return nil
}
