// Package plan computes what a restore will do: out of a restore point, the
// cloud as it is now, and what the user wants otherwise.
//
// It only reads. A Plan is data: it can be shown, saved and compared. What
// stands in the way of the restore is a Conflict, with a safe resolution or
// none; a plan with one that has none is refused before anything is changed.
package plan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vcd"
	"github.com/vappvault/vappvault/internal/vsphere"
	"github.com/vappvault/vappvault/internal/wording"
)

// ErrConflict says that a plan has conflicts which need a decision. The
// conflicts are in the error's text and in the plan.
var ErrConflict = errors.New("the restore is in conflict with what is there")

// The modes of a restore.
const (
	ModeMissing   = "missing"   // the vApp is gone: rebuild it
	ModeOverwrite = "overwrite" // it exists: bring it back, its identity kept
	ModeCopy      = "copy"      // beside it, by another name
	ModeVMs       = "vms"       // some VMs into the vApp that is there
	ModeDisks     = "disks"     // some disks of its VMs
	ModeConfig    = "config"    // documents only
	ModeVSphere   = "vsphere"   // the VMs in vSphere, unknown to vCD
)

// What is done with a VM.
const (
	Rebuild   = "rebuild"
	Overwrite = "overwrite"
	Leave     = "leave"  // not in the point, or its disks are not
	Remove    = "remove" // added since, and not wanted
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

// A Plan is what a restore would do.
type Plan struct {
	Mode     string               `json:"mode"`
	Point    restorepoint.Summary `json:"point"`
	VAppName string               `json:"vappName"`
	VAppID   string               `json:"vappId,omitempty"` // the vApp that is overwritten
	Org      restorepoint.Ref     `json:"org"`
	VDC      restorepoint.Ref     `json:"vdc"`
	VMs      []VM                 `json:"vms"`
	Networks map[string]string    `json:"networks,omitempty"` // parent network's name -> href
	Owner    restorepoint.Ref     `json:"owner"`
	IP       string               `json:"ip"`
	MAC      string               `json:"mac"`
	KeepOld  bool                 `json:"keepOld,omitempty"`
	// These are as in Options.
	ExtraVMs         string `json:"extraVMs,omitempty"`
	ExtraDisks       string `json:"extraDisks,omitempty"`
	DiscardSnapshots bool   `json:"discardSnapshots,omitempty"`

	Beside bool `json:"beside,omitempty"` // selected VMs stand beside those that are there
	// Standalone says that the VM comes back as a standalone one, in a shell
	// that vCD makes and names.
	Standalone bool `json:"standalone,omitempty"`
	// Skew is the time between the VMs' snapshots, where they come from
	// several restore points. Nanoseconds.
	Skew time.Duration `json:"skew,omitempty"`
	// AddNetworks are networks that the vApp lost since and that the
	// selected VMs need.
	AddNetworks []string `json:"addNetworks,omitempty"`
	// Sections are those to restore alone, Changes those of them that
	// differ from the restore point.
	Sections []string `json:"sections,omitempty"`
	Changes  []Change `json:"changes,omitempty"`
	Power    string   `json:"power"`
	// Missing counts VMs and disks that the restore point does not hold.
	Missing   int        `json:"missing,omitempty"`
	Steps     []string   `json:"steps"`
	Conflicts []Conflict `json:"conflicts,omitempty"`

	Live     *vcd.VApp         `json:"-"` // the vApp that is overwritten
	Profiles map[string]string `json:"-"` // storage profiles of the VDC: name -> href

	inOrg int              // VMs that the org has at least
	taken map[string]int64 // bytes that the plan puts on a datastore, by moref
}

// A VM is what is done with one VM.
type VM struct {
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
	// Out are the device keys of the disks that are taken out of the VM that
	// is overwritten; Snapshots counts those of the tenant's that are removed.
	Out       []int32 `json:"out,omitempty"`
	Snapshots int     `json:"snapshots,omitempty"`
	// SwitchOff says that the VM must be off for what is to be changed.
	SwitchOff bool `json:"switchOff,omitempty"`

	// VimServerHref is the vCenter where the VM is or will be.
	VimServerHref string           `json:"-"`
	Home          string           `json:"-"` // "[ds] dir/x.vmx" of the live VM
	Files         map[int32]string `json:"-"` // disk files of the live VM
}

// A Conflict is something that does not fit the cloud as it is now.
type Conflict struct {
	Kind    string `json:"kind"` // one of the Kinds
	Object  string `json:"object"`
	Message string `json:"message"`
	// Resolution is what the plan does about it; "" means that it needs a
	// decision, and the restore is refused.
	Resolution string `json:"resolution,omitempty"`
	// Override names the flag that decides otherwise, with what it wants:
	// "--network lan=NEW".
	Override string `json:"override,omitempty"`
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

func (p *Plan) conflict(kind, object, resolution, format string, args ...any) {
	p.Conflicts = append(p.Conflicts, Conflict{Kind: kind, Object: object, Message: fmt.Sprintf(format, args...), Resolution: resolution})
}

// Deps are what planning reads.
type Deps struct {
	VCD *vcd.Client
	// VSphere returns the client of the vCenter that vCD knows by the given
	// reference (the href of its vimServer).
	VSphere func(ctx context.Context, vimServerHref string) (*vsphere.Client, error)
	Docs    document.Set // of the restore point, secrets put back
	// Batch, where set, is what the plans of one go take together.
	Batch *Batch
}

// Compute plans a restore without changing anything.
func Compute(ctx context.Context, d Deps, point *restorepoint.Point, o Options) (*Plan, error) {
	p := &Plan{
		Mode: o.mode(), Point: point.Summary(), VAppName: point.VApp.Name,
		IP: o.Overrides.IP, MAC: o.Overrides.MAC, KeepOld: o.KeepOld, Power: cmp.Or(o.Power, PowerOff),
		ExtraVMs: o.ExtraVMs, ExtraDisks: o.ExtraDisks, DiscardSnapshots: o.DiscardSnapshots,
		Beside: o.Beside,
	}
	if p.Mode == ModeCopy {
		p.VAppName = o.As
	}
	if p.IP == "" {
		p.IP = IPKeep
		if p.Copies() {
			p.IP = IPPool
		}
	}
	if p.MAC == "" {
		p.MAC = MACKeep
		if p.Copies() {
			p.MAC = MACNew
		}
	}
	if p.Mode == ModeCopy {
		if err := checkName(o.As); err != nil {
			return nil, err
		}
	}
	for _, step := range p.parts(o) {
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

// maxName is how many characters vCD takes in a name.
const maxName = 128

// checkName refuses what cannot be the name of a vApp before anything is
// written.
func checkName(name string) error {
	switch {
	case !utf8.ValidString(name):
		return fmt.Errorf("name %q: not UTF-8", name)
	case strings.TrimSpace(name) == "":
		return fmt.Errorf("name %q: empty", name)
	case utf8.RuneCountInString(name) > maxName:
		return fmt.Errorf("name %q: %d characters, vCD takes %d", name, utf8.RuneCountInString(name), maxName)
	case strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("name %q: control characters", name)
	}
	return nil
}

// planPlace finds the org and VDC: those of the vApp that is overwritten, else
// those of the restore point, by id or by name.
func planPlace(ctx context.Context, d *Deps, p *Plan, point *restorepoint.Point) error {
	if p.InPlace() {
		live, err := d.VCD.VApp(ctx, point.VApp.ID)
		if vcd.IsNotFound(err) {
			p.conflict(KindVAppGone, "vApp "+p.VAppName, "", "does not exist any more: restore it as a whole, without --overwrite")
			return nil
		}
		if err != nil {
			return fmt.Errorf("vApp %s: %w", p.VAppName, err)
		}
		p.Live, p.VAppID = live, live.ID
		p.VDC = restorepoint.Ref{ID: live.VDC.ID, Name: live.VDC.Name, Href: live.VDC.Href}
		p.Org = restorepoint.Ref{ID: live.Org.ID, Name: live.Org.Name}
		return nil
	}
	vdcs, err := d.VCD.VDCs(ctx)
	if err != nil {
		err = fmt.Errorf("list VDCs: %w", err)
	}
	if err != nil && !errors.Is(err, vcd.ErrShort) {
		return err
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
	if named == nil && err != nil {
		return err // it may be one that vCD does not show
	}
	if named == nil {
		p.conflict(KindVDCGone, "VDC "+point.Org.Name+"/"+point.VDC.Name, "", "is gone")
		return nil
	}
	p.VDC = restorepoint.Ref{ID: named.ID, Name: named.Name, Href: named.Href}
	p.Org = restorepoint.Ref{ID: named.OrgID, Name: named.OrgName}
	p.conflict(KindVDCGone, "VDC "+named.Name, "use the VDC of the same name", "was made anew since the backup")
	return nil
}

// planVApp checks that the vApp may be overwritten, or that its name is free.
func planVApp(ctx context.Context, d *Deps, p *Plan, point *restorepoint.Point) error {
	object := "vApp " + p.VAppName
	if p.InPlace() {
		if p.Live.InMaintenance {
			p.conflict(KindBusy, object, "", "is in maintenance mode by somebody else")
		}
		if p.Mode == ModeOverwrite && p.Live.Name != p.VAppName {
			p.conflict(KindRenamed, object, "give it back its name", "is called %s now", p.Live.Name)
		}
		return nil
	}
	vapps, err := d.VCD.VApps(ctx, "")
	// vCD itself refuses a name that is taken by a vApp which it does not show.
	if err != nil && !errors.Is(err, vcd.ErrShort) {
		return fmt.Errorf("list vApps: %w", err)
	}
	for _, v := range vapps {
		if v.OrgID == p.Org.ID {
			p.inOrg += v.VMCount
		}
		switch {
		case p.Mode == ModeMissing && v.ID == point.VApp.ID:
			p.conflict(KindVAppExists, object, "", "still exists: overwrite it (--overwrite) or restore it by another name (--as)")
			return nil
		case v.VDCID == p.VDC.ID && v.Name == p.VAppName:
			p.conflict(KindNameTaken, object, "", "the name is taken in VDC %s: restore it by another name (--as)", p.VDC.Name)
		}
	}
	return nil
}

// planNetworks finds the organization networks that vApp networks hang from.
func planNetworks(ctx context.Context, d *Deps, p *Plan, _ *restorepoint.Point) error {
	networks, err := d.VCD.VDCNetworks(ctx, p.VDC.ID)
	if err != nil {
		return fmt.Errorf("list networks of VDC %s: %w", p.VDC.Name, err)
	}
	config, err := d.Docs.Tree("vcd/networkConfigSection.xml")
	if err != nil || config == nil {
		return err
	}
	p.Networks = map[string]string{}
	for _, c := range document.FindAll(config.Root(), "NetworkConfig") {
		parent := document.Descend(c, "Configuration", "ParentNetwork")
		if parent == nil {
			continue
		}
		name, id := document.Attribute(parent, "name"), restorepoint.UUID(vcd.URN(document.Attribute(parent, "href")))
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
			p.conflict(KindNetworkMissing, "network "+name, "", "vApp network %s hangs from it, and VDC %s has none of that name", document.Attribute(c, "networkName"), p.VDC.Name)
		}
	}
	return nil
}

// planPeople finds the owner.
func planPeople(ctx context.Context, d *Deps, p *Plan, _ *restorepoint.Point) error {
	owner, err := d.Docs.Tree("vcd/owner.xml")
	if err != nil || owner == nil {
		return err
	}
	name := document.AttributeOf(owner.Root(), "name", "User")
	user, err := d.VCD.UserByName(ctx, p.Org.ID, name)
	if errors.Is(err, vcd.ErrNoUser) {
		p.conflict(KindOwnerGone, "user "+name, "leave the vApp to the system administrator", "owned the vApp and is gone")
		return nil
	}
	if err != nil {
		return fmt.Errorf("user %s: %w", name, err)
	}
	p.Owner = restorepoint.Ref{ID: user.ID, Name: user.Name, Href: user.Href}
	return nil
}

// planQuota refuses VMs that the org may not have. vCD counts those of
// templates as well, and refuses itself where that makes the difference, when
// the disks have been written.
func planQuota(ctx context.Context, d *Deps, p *Plan, _ *restorepoint.Point) error {
	more := 0
	for _, vm := range p.VMs {
		if vm.Action == Rebuild {
			more++
		}
	}
	if more == 0 || p.InPlace() {
		return nil
	}
	quota, err := d.VCD.StoredVMQuota(ctx, p.Org.ID)
	if err != nil {
		return fmt.Errorf("VM quota of organization %s: %w", p.Org.Name, err)
	}
	if quota > 0 && p.inOrg+more > quota {
		p.conflict(KindQuota, "organization "+p.Org.Name, "", "has %d VMs and a quota of %d: there is no room for %d more", p.inOrg, quota, more)
	}
	return nil
}

// steps tells in words what Run will do.
func (p *Plan) steps() []string {
	switch p.Mode {
	case ModeVMs:
		return p.selectedSteps()
	case ModeConfig:
		return p.configSteps()
	}
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if p.Mode == ModeOverwrite {
		add("undeploy vApp %s", p.VAppName)
		add("put it in maintenance mode")
	}
	for _, vm := range p.VMs {
		if vm.Snapshots > 0 {
			add("remove %s of vm %s", wording.Count(vm.Snapshots, "snapshot"), vm.Name)
		}
		switch vm.Action {
		case Rebuild:
			add("rebuild vm %s on datastore %s, %s, %s", vm.Name, vm.Datastore.Name, wording.Count(len(vm.VM.Disks), "disk"), wording.Size(vm.Bytes))
		case Overwrite:
			add("write new disks for vm %s on datastore %s, %s, %s, and swap them in", vm.Name, vm.Datastore.Name, wording.Count(len(vm.VM.Disks), "disk"), wording.Size(vm.Bytes))
		case Leave:
			add("leave vm %s", vm.Name)
		}
	}
	switch {
	case p.Standalone:
		add("import it into VDC %s as a standalone VM", p.VDC.Name)
	case p.Mode != ModeOverwrite:
		add("import the VMs into VDC %s as vApp %s", p.VDC.Name, p.VAppName)
	}
	if p.Mode != ModeOverwrite {
		add("put it in maintenance mode")
	}
	add("apply networks, NICs, rules and every other section")
	add("read it back and compare")
	for _, vm := range p.VMs {
		if vm.Action == Remove {
			add("delete vm %s", vm.Name)
		}
	}
	if p.Mode == ModeOverwrite && !p.KeepOld {
		add("delete the disks that were replaced")
	}
	add("exit maintenance mode")
	if p.Power != PowerOff {
		add("power on")
	}
	return out
}
