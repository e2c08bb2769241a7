// Package restore turns one restore point back into a vApp.
//
// It first computes a Plan: what will be done and what stands in the way. A
// plan with a conflict that has no safe answer is refused before anything is
// changed. A restore that fails half way takes back what it did: a rebuilt
// vApp is removed, swapped disks are swapped back.
package restore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vcd"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// ErrConflict says that a plan has conflicts which need a decision. The
// conflicts are in the error's text and in the plan.
var ErrConflict = errors.New("the restore is in conflict with what is there")

// The modes of a restore.
const (
	ModeMissing   = "missing"   // the vApp is gone: rebuild it
	ModeOverwrite = "overwrite" // it exists: bring it back, its identity kept
	ModeCopy      = "copy"      // beside it, by another name
)

// What is done with a VM.
const (
	Rebuild   = "rebuild"
	Overwrite = "overwrite"
	Leave     = "leave" // not in the point, or its disks are not
)

// What becomes of the address of a NIC whose network has a pool.
const (
	// IPKeep keeps the mode where vCD gives the NIC its address again, and
	// the address, as MANUAL, where it does not.
	IPKeep = "keep"
	// IPPool keeps the mode, whatever address comes.
	IPPool = "pool"
)

// What becomes of MAC addresses.
const (
	MACKeep = "keep"
	MACNew  = "new"
)

// Options say how to restore.
type Options struct {
	Overwrite bool
	As        string // name of a copy
	IP        string // keep, pool; "" is keep, and pool for a copy
	MAC       string // keep, new; "" is keep, and new for a copy
	KeepOld   bool   // keep the disks that an overwrite replaced
	PowerOn   bool
}

// A Plan is what a restore would do.
type Plan struct {
	Mode      string               `json:"mode"`
	Point     restorepoint.Summary `json:"point"`
	VAppName  string               `json:"vappName"`
	VAppID    string               `json:"vappId,omitempty"` // the vApp that is overwritten
	Org       restorepoint.Ref     `json:"org"`
	VDC       restorepoint.Ref     `json:"vdc"`
	VMs       []VMPlan             `json:"vms"`
	Networks  map[string]string    `json:"networks,omitempty"` // parent network's name -> href
	Owner     restorepoint.Ref     `json:"owner"`
	IP        string               `json:"ip"`
	MAC       string               `json:"mac"`
	KeepOld   bool                 `json:"keepOld,omitempty"`
	PowerOn   bool                 `json:"powerOn,omitempty"`
	Steps     []string             `json:"steps"`
	Conflicts []Conflict           `json:"conflicts,omitempty"`

	live     *vcd.VApp
	profiles map[string]string // storage profiles of the VDC: name -> href
	taken    map[string]int64  // bytes that the plan puts on a datastore, by moref
}

// A VMPlan is what is done with one VM.
type VMPlan struct {
	Name      string           `json:"name"`
	Action    string           `json:"action"`
	VM        *restorepoint.VM `json:"-"`
	Datastore restorepoint.Ref `json:"datastore"` // of the VM's own files; ID: moref
	// Disks are the datastores of the disks, by device key.
	Disks          map[int32]restorepoint.Ref `json:"disks,omitempty"`
	StorageProfile restorepoint.Ref           `json:"storageProfile"`
	Bytes          int64                      `json:"bytes"` // of disk data to write
	Live           *vcd.VM                    `json:"-"`     // the VM that is overwritten
	LiveMoRef      string                     `json:"moref,omitempty"`

	vimServerHref string
	home          string           // "[ds] dir/x.vmx" of the live VM
	files         map[int32]string // disk files of the live VM
}

// A Conflict is something that does not fit the cloud as it is now.
type Conflict struct {
	Object  string `json:"object"`
	Message string `json:"message"`
	// Resolution is what the plan does about it; "" means that it needs a
	// decision, and the restore is refused.
	Resolution string `json:"resolution,omitempty"`
}

// Refused returns ErrConflict with the conflicts that have no resolution.
func (p *Plan) Refused() error {
	var open []string
	for _, c := range p.Conflicts {
		if c.Resolution == "" {
			open = append(open, c.Object+": "+c.Message)
		}
	}
	if len(open) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrConflict, strings.Join(open, "; "))
}

func (p *Plan) conflict(object, resolution, format string, args ...any) {
	p.Conflicts = append(p.Conflicts, Conflict{Object: object, Message: fmt.Sprintf(format, args...), Resolution: resolution})
}

// Compute plans a restore without changing anything.
func Compute(ctx context.Context, d Deps, point *restorepoint.Point, o Options) (*Plan, error) {
	p := &Plan{
		Mode: ModeMissing, Point: point.Summary(), VAppName: point.VApp.Name,
		IP: o.IP, MAC: o.MAC, KeepOld: o.KeepOld, PowerOn: o.PowerOn,
	}
	switch {
	case o.Overwrite:
		p.Mode = ModeOverwrite
	case o.As != "":
		p.Mode, p.VAppName = ModeCopy, o.As
	}
	if p.IP == "" {
		p.IP = IPKeep
		if p.Mode == ModeCopy {
			p.IP = IPPool
		}
	}
	if p.MAC == "" {
		p.MAC = MACKeep
		if p.Mode == ModeCopy {
			p.MAC = MACNew
		}
	}
	if err := d.loadDocuments(ctx, point); err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context, *Deps, *Plan, *restorepoint.Point) error{
		planPlace, planVApp, planNetworks, planPeople, planVMs,
	} {
		if err := step(ctx, &d, p, point); err != nil {
			return nil, err
		}
		if p.Refused() != nil {
			return p, nil
		}
	}
	p.Steps = p.steps()
	return p, nil
}

// planPlace finds the org and VDC: by id, else by name.
func planPlace(ctx context.Context, d *Deps, p *Plan, point *restorepoint.Point) error {
	vdcs, err := d.VCD.VDCs(ctx)
	if err != nil {
		return fmt.Errorf("list VDCs: %w", err)
	}
	var named *vcd.VDCRef
	for i, v := range vdcs {
		if v.ID == point.VDC.ID {
			p.VDC = restorepoint.Ref{ID: v.ID, Name: v.Name, Href: v.Href}
			p.Org = restorepoint.Ref{ID: v.OrgID, Name: v.OrgName}
			return nil
		}
		if v.Name == point.VDC.Name && v.OrgName == point.Org.Name {
			named = &vdcs[i]
		}
	}
	if named == nil {
		p.conflict("VDC "+point.Org.Name+"/"+point.VDC.Name, "", "is gone")
		return nil
	}
	p.VDC = restorepoint.Ref{ID: named.ID, Name: named.Name, Href: named.Href}
	p.Org = restorepoint.Ref{ID: named.OrgID, Name: named.OrgName}
	p.conflict("VDC "+named.Name, "use the VDC of the same name", "was made anew since the backup")
	return nil
}

// planVApp checks that the vApp is there for an overwrite, and that its name
// is free otherwise.
func planVApp(ctx context.Context, d *Deps, p *Plan, point *restorepoint.Point) error {
	vapps, err := d.VCD.VApps(ctx, "")
	if err != nil {
		return fmt.Errorf("list vApps: %w", err)
	}
	var same, named *vcd.VAppRef
	for i, v := range vapps {
		if v.ID == point.VApp.ID {
			same = &vapps[i]
		}
		if v.VDCID == p.VDC.ID && v.Name == p.VAppName {
			named = &vapps[i]
		}
	}
	object := "vApp " + p.VAppName
	switch {
	case p.Mode == ModeOverwrite && same == nil:
		p.conflict(object, "", "does not exist any more: restore it without --overwrite")
		return nil
	case p.Mode == ModeOverwrite:
		return planLive(ctx, d, p, same)
	case p.Mode == ModeMissing && same != nil:
		p.conflict(object, "", "still exists: overwrite it (--overwrite) or restore it by another name (--as)")
	case named != nil:
		p.conflict(object, "", "the name is taken in VDC %s: restore it by another name (--as)", p.VDC.Name)
	}
	return nil
}

func planLive(ctx context.Context, d *Deps, p *Plan, ref *vcd.VAppRef) error {
	live, err := d.VCD.VApp(ctx, ref.ID)
	if err != nil {
		return fmt.Errorf("vApp %s: %w", ref.Name, err)
	}
	p.live, p.VAppID = live, live.ID
	if live.InMaintenance {
		p.conflict("vApp "+live.Name, "", "is in maintenance mode by somebody else")
	}
	if live.Name != p.VAppName {
		p.conflict("vApp "+live.Name, "give it back its name", "was called %s", p.VAppName)
	}
	return nil
}

// planNetworks finds the organization networks that vApp networks hang from.
func planNetworks(ctx context.Context, d *Deps, p *Plan, _ *restorepoint.Point) error {
	networks, err := d.VCD.VDCNetworks(ctx, p.VDC.ID)
	if err != nil {
		return fmt.Errorf("list networks of VDC %s: %w", p.VDC.Name, err)
	}
	config, err := d.docs.tree("vcd/networkConfigSection.xml")
	if err != nil || config == nil {
		return err
	}
	p.Networks = map[string]string{}
	for _, c := range findAll(config.Root(), "NetworkConfig") {
		parent := descend(c, "Configuration", "ParentNetwork")
		if parent == nil {
			continue
		}
		name, id := attribute(parent, "name"), restorepoint.UUID(vcd.URN(attribute(parent, "href")))
		for _, n := range networks {
			if restorepoint.UUID(n.ID) == id {
				p.Networks[name] = n.Href
				break
			}
			if n.Name == name {
				p.Networks[name] = n.Href
			}
		}
		if p.Networks[name] == "" {
			p.conflict("network "+name, "", "vApp network %s hangs from it, and VDC %s has none of that name", attribute(c, "networkName"), p.VDC.Name)
		}
	}
	return nil
}

// planPeople finds the owner.
func planPeople(ctx context.Context, d *Deps, p *Plan, _ *restorepoint.Point) error {
	owner, err := d.docs.tree("vcd/owner.xml")
	if err != nil || owner == nil {
		return err
	}
	name := attributeOf(owner.Root(), "name", "User")
	user, err := d.VCD.UserByName(ctx, p.Org.ID, name)
	if errors.Is(err, vcd.ErrNoUser) {
		p.conflict("user "+name, "leave the vApp to the system administrator", "owned the vApp and is gone")
		return nil
	}
	if err != nil {
		return fmt.Errorf("user %s: %w", name, err)
	}
	p.Owner = restorepoint.Ref{ID: user.ID, Name: user.Name, Href: user.Href}
	return nil
}

// planVMs decides what becomes of each VM and where its disks go.
func planVMs(ctx context.Context, d *Deps, p *Plan, point *restorepoint.Point) error {
	profiles, err := d.VCD.StorageProfiles(ctx, p.VDC.ID)
	if err != nil {
		return fmt.Errorf("list storage profiles of VDC %s: %w", p.VDC.Name, err)
	}
	p.profiles = map[string]string{}
	for _, sp := range profiles {
		p.profiles[sp.Name] = sp.Href
	}
	inPoint := map[string]bool{}
	for i := range point.VMs {
		vm := &point.VMs[i]
		inPoint[vm.ID] = true
		plan := VMPlan{Name: vm.Name, Action: Rebuild, VM: vm, vimServerHref: vm.VCenterHref}
		if vm.Missing != "" {
			plan.Action = Leave
			p.conflict("vm "+vm.Name, "restore the others", "its disks are not in the restore point: %s", vm.Missing)
			p.VMs = append(p.VMs, plan)
			continue
		}
		for _, disk := range vm.Disks {
			plan.Bytes += disk.Content.DataBytes
		}
		if p.live != nil {
			for j, l := range p.live.VMs {
				if l.ID == vm.ID {
					plan.Action, plan.Live, plan.LiveMoRef = Overwrite, &p.live.VMs[j], l.VimInfo.VMMoRef
				}
			}
		}
		if err := planVM(ctx, d, p, &plan, profiles); err != nil {
			return fmt.Errorf("vm %s: %w", vm.Name, err)
		}
		p.VMs = append(p.VMs, plan)
	}
	if p.live != nil {
		for j, l := range p.live.VMs {
			if !inPoint[l.ID] {
				p.conflict("vm "+l.Name, "keep it as it is", "was added since the backup")
				p.VMs = append(p.VMs, VMPlan{Name: l.Name, Action: Leave, Live: &p.live.VMs[j]})
			}
		}
	}
	return nil
}

func planVM(ctx context.Context, d *Deps, p *Plan, plan *VMPlan, profiles []vcd.StorageProfile) error {
	doc, err := d.docs.tree("vcd/vms/" + restorepoint.UUID(plan.VM.ID) + "/vm.xml")
	if err != nil {
		return err
	}
	if doc != nil {
		name := attributeOf(doc.Root(), "name", "StorageProfile")
		for _, sp := range profiles {
			if sp.Name == name {
				plan.StorageProfile = restorepoint.Ref{ID: sp.ID, Name: sp.Name, Href: sp.Href}
			}
		}
		if plan.StorageProfile.Href == "" && name != "" {
			p.conflict("storage profile "+name, "use the VDC's default", "vm %s had it, and VDC %s has none of that name", plan.Name, p.VDC.Name)
		}
	}
	client, err := d.VSphere(ctx, plan.vimServerHref)
	if err != nil {
		return err
	}
	if plan.Action == Overwrite {
		if err := planOverwrite(ctx, client, p, plan); err != nil {
			return err
		}
	}
	return planDatastores(ctx, client, p, plan)
}

// planOverwrite refuses where a disk must not be replaced.
func planOverwrite(ctx context.Context, client *vsphere.Client, p *Plan, plan *VMPlan) error {
	config, err := client.VM(plan.LiveMoRef).Config(ctx)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	object := "vm " + plan.Name
	if len(config.Snapshots) > 0 {
		p.conflict(object, "", "has %d snapshots, which hang from the disks that would be replaced: remove them first", len(config.Snapshots))
		return nil
	}
	plan.home, plan.files = config.VmPathName, map[int32]string{}
	live := map[int32]vsphere.Disk{}
	for _, disk := range config.Disks {
		plan.files[disk.Key] = disk.FileName
		if disk.ChainDepth > 0 {
			p.conflict(object, "", "disk %s is a linked clone: restore a copy (--as)", disk.Label)
		}
		live[disk.Key] = disk
	}
	for _, disk := range plan.VM.Disks {
		was, ok := live[disk.Key]
		if !ok {
			p.conflict(object, "", "disk %s was removed since the backup: restore a copy (--as)", disk.Label)
		} else if was.Capacity != disk.Content.Size {
			p.conflict(object, "", "disk %s has %d bytes now and %d in the restore point: restore a copy (--as)", disk.Label, was.Capacity, disk.Content.Size)
		}
		delete(live, disk.Key)
	}
	for _, disk := range live {
		p.conflict(object, "keep it as it is", "disk %s was added since the backup", disk.Label)
	}
	return nil
}

// planDatastores keeps the datastore that each disk is or was on where it has
// room, and else takes the one with the most.
func planDatastores(ctx context.Context, client *vsphere.Client, p *Plan, plan *VMPlan) error {
	stores, err := client.Datastores(ctx)
	if err != nil {
		return fmt.Errorf("list datastores: %w", err)
	}
	stores = slices.DeleteFunc(stores, func(s vsphere.DatastoreInfo) bool { return !s.Accessible })
	plan.Disks = map[int32]restorepoint.Ref{}
	for _, d := range plan.VM.Disks {
		was := datastoreOf(d.FileName)
		if f := plan.files[d.Key]; f != "" {
			was = datastoreOf(f)
		}
		plan.Disks[d.Key] = p.room(stores, "vm "+plan.Name+" disk "+d.Label, was, d.Content.DataBytes)
	}
	home := datastoreOf(plan.home)
	if len(plan.VM.Disks) > 0 && home == "" {
		home = plan.Disks[plan.VM.Disks[0].Key].Name
	}
	plan.Datastore = p.room(stores, "vm "+plan.Name, home, 0)
	return nil
}

// room finds a datastore for some bytes, and notes them as taken.
func (p *Plan) room(stores []vsphere.DatastoreInfo, object, was string, size int64) restorepoint.Ref {
	if p.taken == nil {
		p.taken = map[string]int64{}
	}
	free := func(s vsphere.DatastoreInfo) int64 { return s.Free - p.taken[s.Ref] }
	var most *vsphere.DatastoreInfo
	for i, s := range stores {
		if s.Name == was && free(s) >= size {
			p.taken[s.Ref] += size
			return restorepoint.Ref{ID: s.Ref, Name: s.Name}
		}
		if most == nil || free(s) > free(*most) {
			most = &stores[i]
		}
	}
	switch {
	case most == nil:
		p.conflict(object, "", "its vCenter has no datastore that can be reached")
		return restorepoint.Ref{}
	case free(*most) < size:
		p.conflict(object, "", "needs %d bytes, and no datastore has more than %d free (%s)", size, free(*most), most.Name)
		return restorepoint.Ref{}
	}
	if was != "" {
		p.conflict("datastore "+was, "use "+most.Name, "is gone or full; %s was on it", object)
	}
	p.taken[most.Ref] += size
	return restorepoint.Ref{ID: most.Ref, Name: most.Name}
}

// datastoreOf returns ds of "[ds] dir/file.vmdk".
func datastoreOf(file string) string {
	name, _, ok := strings.Cut(strings.TrimPrefix(file, "["), "]")
	if !ok || !strings.HasPrefix(file, "[") {
		return ""
	}
	return name
}

// steps tells in words what Run will do.
func (p *Plan) steps() []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if p.Mode == ModeOverwrite {
		add("undeploy vApp %s", p.VAppName)
		add("put it in maintenance mode")
	}
	for _, vm := range p.VMs {
		switch vm.Action {
		case Rebuild:
			add("rebuild vm %s on datastore %s, %d disks, %d bytes", vm.Name, vm.Datastore.Name, len(vm.VM.Disks), vm.Bytes)
		case Overwrite:
			add("write new disks for vm %s on datastore %s, %d disks, %d bytes, and swap them in", vm.Name, vm.Datastore.Name, len(vm.VM.Disks), vm.Bytes)
		case Leave:
			add("leave vm %s", vm.Name)
		}
	}
	if p.Mode != ModeOverwrite {
		add("import the VMs into VDC %s as vApp %s", p.VDC.Name, p.VAppName)
		add("put it in maintenance mode")
	}
	add("apply networks, NICs, rules and every other section")
	add("read it back and compare")
	if p.Mode == ModeOverwrite && !p.KeepOld {
		add("delete the disks that were replaced")
	}
	add("exit maintenance mode")
	if p.PowerOn {
		add("power on")
	}
	return out
}
