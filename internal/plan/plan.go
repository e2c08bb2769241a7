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
	"slices"
	"strings"
	"time"

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
	// IPDHCP makes every NIC ask a DHCP server.
	IPDHCP = "dhcp"
)

// What becomes of MAC addresses.
const (
	MACKeep = "keep"
	MACNew  = "new"
)

// A Plan is what a restore would do. Its JSON is described in doc/plan.md; it
// is the same whenever the decisions are.
type Plan struct {
	Mode     string               `json:"mode"`
	Point    restorepoint.Summary `json:"point"`
	VAppName string               `json:"vappName"`
	VAppID   string               `json:"vappId,omitempty"` // the vApp that is overwritten
	Org      restorepoint.Ref     `json:"org"`
	VDC      restorepoint.Ref     `json:"vdc"`
	VMs      []VM                 `json:"vms"`
	// VAppNetworks are those of the vApp, in the order of the restore point.
	VAppNetworks []Network `json:"vappNetworks,omitempty"`
	// Networks are the organization networks that they hang from, by the
	// names these bear now: hrefs.
	Networks map[string]string `json:"networks,omitempty"`
	// These are the names that storage profiles and compute policies of the
	// restore point have in the VDC; "" is the VDC's default.
	StorageProfiles map[string]string `json:"storageProfiles,omitempty"`
	ComputePolicies map[string]string `json:"computePolicies,omitempty"`
	Owner           restorepoint.Ref  `json:"owner"`
	Access          []Subject         `json:"access,omitempty"`
	Lease           *LeaseTimes       `json:"lease,omitempty"`
	IP              string            `json:"ip"`
	MAC             string            `json:"mac"`
	KeepOld         bool              `json:"keepOld,omitempty"`
	// Undo is the run that is undone: the point is then what the vApp was
	// before it.
	Undo string `json:"undo,omitempty"`
	// These are as in Options.
	OnError          string `json:"onError,omitempty"`
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
	// Renew says that the vApp's storage lease has expired.
	Renew bool `json:"renew,omitempty"`
	// Missing counts VMs and disks that the restore point does not hold.
	Missing   int        `json:"missing,omitempty"`
	Steps     []string   `json:"steps"`
	Conflicts []Conflict `json:"conflicts,omitempty"`

	Live     *vcd.VApp         `json:"-"` // the vApp that is overwritten
	Profiles map[string]string `json:"-"` // storage profiles of the VDC: name -> href

	options        Options
	batch          *Batch
	need           *need    // what it takes, once that is known
	vdc            *vcd.VDC // where the vApp will be
	home           string   // href of its vCenter
	use            map[string]vcd.ProfileUse
	defaultProfile string // the VDC's
	policies       map[string]vcd.Ref
	now            map[string]string  // VMs of the restore point and of the vApp that is overwritten: id -> id
	inOrg, inVDC   int                // VMs that they have at least
	taken          map[string]int64   // bytes that the plan puts on a datastore, by moref
	subnets        map[string]*subnet // by the vApp network's name in the restore point
}

// A VM is what is done with one VM.
type VM struct {
	Name      string           `json:"name"`          // afterwards
	Was       string           `json:"was,omitempty"` // its other name in the restore point
	Action    string           `json:"action"`
	VM        *restorepoint.VM `json:"-"`
	Datastore restorepoint.Ref `json:"datastore"` // of the VM's own files; ID: moref
	// Disks are the datastores of the disks, by device key.
	Disks map[int32]restorepoint.Ref `json:"disks,omitempty"`
	// Thick are the device keys of the disks that take all of their room.
	Thick          []int32            `json:"thick,omitempty"`
	StorageProfile restorepoint.Ref   `json:"storageProfile"`
	Bytes          int64              `json:"bytes"` // of disk data to write
	NICs           []NIC              `json:"nics,omitempty"`
	Media          []restorepoint.Ref `json:"media,omitempty"` // that is inserted again
	Live           *vcd.VM            `json:"-"`               // the VM that is overwritten
	LiveMoRef      string             `json:"moref,omitempty"`
	// Swapped says that an overwrite which is resumed has put its new disks in.
	Swapped bool `json:"swapped,omitempty"`
	// Blocks says that only blocks which differ are written, into the disks
	// that are there.
	Blocks bool `json:"blocks,omitempty"`
	// Kept says that its disks are those that an overwrite put aside.
	Kept bool `json:"kept,omitempty"`
	// Out are the device keys of the disks that are taken out of the VM that
	// is overwritten; Snapshots counts those of the tenant's that are removed.
	Out       []int32 `json:"out,omitempty"`
	Extra     []int32 `json:"extra,omitempty"` // device keys of disks that were added since and stay
	Snapshots int     `json:"snapshots,omitempty"`
	// SwitchOff says that the VM must be off for what is to be changed.
	SwitchOff bool `json:"switchOff,omitempty"`

	media map[string]exchange // by the UUID of what was inserted
	// Named are the named disks that were attached to the VM.
	Named []NamedDisk `json:"named,omitempty"`
	// Places are where disks are attached that are further ones of the VM,
	// by their device keys in the restore point.
	Places map[int32]vsphere.Attach `json:"places,omitempty"`

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
	// Loss tells that the resolution costs the vApp something that nobody
	// asked to lose: the restore ends as a partial one.
	Loss bool `json:"loss,omitempty"`
}

// Lossy tells whether a conflict was resolved at the cost of something.
func (p *Plan) Lossy() bool {
	return slices.ContainsFunc(p.Conflicts, func(c Conflict) bool { return c.Loss })
}

// Refused returns ErrConflict with the conflicts that have no resolution.
func (p *Plan) Refused() error {
	var open []string
	for _, c := range p.Conflicts {
		if c.Resolution == "" {
			text := c.Object + ": " + c.Message
			if c.Override != "" {
				text += " (" + c.Override + ")"
			}
			open = append(open, text)
		}
	}
	if len(open) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrConflict, strings.Join(open, "; "))
}

// add notes a conflict.
func (p *Plan) add(c Conflict, format string, args ...any) {
	c.Message = fmt.Sprintf(format, args...)
	p.Conflicts = append(p.Conflicts, c)
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
	// Made are the disk files that the overwrite put in which is undone; the
	// restore point is then what the vApp was before it.
	Made []string
	// Swapped are, of an overwrite that is resumed, the VMs by moref that have
	// their new disks already; nil where none is resumed.
	Swapped map[string]bool
	// Writing are, of such an overwrite, the VMs by moref into whose disks
	// blocks were being written.
	Writing map[string]bool
	// Targets says that there is a transport that writes into disks which are
	// there.
	Targets bool
}

// errStop ends the planning where what follows would have nothing to go by.
var errStop = errors.New("stop")

// Compute plans a restore without changing anything. It finds as many
// conflicts as it can, so that one look tells them all.
func Compute(ctx context.Context, d Deps, point *restorepoint.Point, o Options) (*Plan, error) {
	if err := o.Overrides.Check(); err != nil {
		return nil, err
	}
	p := &Plan{
		Mode: o.mode(), Point: point.Summary(), VAppName: cmp.Or(o.As, o.Overrides.Name, point.VApp.Name),
		IP: o.Overrides.IP, MAC: o.Overrides.MAC, KeepOld: o.KeepOld, Power: cmp.Or(o.Power, PowerOff),
		OnError: o.OnError, ExtraVMs: o.ExtraVMs, ExtraDisks: o.ExtraDisks, DiscardSnapshots: o.DiscardSnapshots,
		Beside: o.Beside, options: o, batch: d.Batch,
	}
	for _, step := range p.parts(o) {
		err := step(ctx, &d, p, point)
		if errors.Is(err, errStop) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	d.Batch.taken(p)
	p.sort()
	if p.Refused() == nil {
		p.Steps = p.steps()
	}
	d.Batch.add(p)
	return p, nil
}

// sort puts what comes out of maps and of lists of the server into one order,
// so that the same decisions give the same plan: what needs a decision first,
// then what costs something, and last what is true of the VDC all the time.
func (p *Plan) sort() {
	rank := func(c Conflict) int {
		switch {
		case c.Resolution == "":
			return 0
		case c.Loss:
			return 1
		case c.Kind == KindDiscovery:
			return 3
		}
		return 2
	}
	if slices.ContainsFunc(p.Conflicts, func(c Conflict) bool { return c.Kind == KindVAppExists }) {
		// Its own VMs have its addresses; whichever way is chosen, that will be no conflict.
		p.Conflicts = slices.DeleteFunc(p.Conflicts, func(c Conflict) bool { return c.Kind == KindMACInUse || c.Kind == KindIPInUse })
	}
	slices.SortStableFunc(p.Conflicts, func(a, b Conflict) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Object, b.Object), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Message, b.Message))
	})
	p.Conflicts = slices.Compact(p.Conflicts)
}

// steps tells in words what Run will do.
func (p *Plan) steps() []string {
	switch p.Mode {
	case ModeVMs:
		return p.selectedSteps()
	case ModeConfig:
		return p.configSteps()
	case ModeDisks:
		return p.diskSteps()
	case ModeVSphere:
		return p.vsphereSteps()
	}
	return p.wholeSteps()
}

// wholeSteps tells it of a whole vApp.
func (p *Plan) wholeSteps() []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if p.Mode == ModeOverwrite {
		if slices.ContainsFunc(p.VMs, func(vm VM) bool { return vm.Blocks }) && !p.options.NoSafetyPoint {
			add("make a restore point of vApp %s as it is, for an undo", p.VAppName)
		}
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
			if vm.Swapped {
				add("leave the new disks of vm %s, which are in their place already", vm.Name)
				continue
			}
			if vm.Blocks {
				add("write up to %s into the disks of vm %s, reset its change tracking", wording.Size(vm.Bytes), vm.Name)
				continue
			}
			if vm.Kept {
				add("swap %s of vm %s back in", wording.Count(len(vm.VM.Disks), "former disk"), vm.Name)
				continue
			}
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
	if p.Mode == ModeOverwrite && !p.KeepOld && slices.ContainsFunc(p.VMs, func(vm VM) bool { return vm.Action == Overwrite && !vm.Blocks }) {
		add("delete the disks that were replaced")
	}
	add("exit maintenance mode")
	if step := p.powerStep(); step != "" {
		add("%s", step)
	}
	return out
}

// powerStep says what is switched on in the end; "" for nothing.
func (p *Plan) powerStep() string {
	if p.Power != PowerAsWas {
		switch {
		case p.Power != PowerOff:
			return "power on"
		case p.Live != nil && p.Mode == ModeOverwrite && p.Live.Deployed:
			return "leave it off, though it runs now"
		}
		return ""
	}
	var ran []string
	for _, vm := range p.VMs {
		if vm.VM != nil && vm.VM.PowerState == "poweredOn" && vm.Action != Leave && vm.Action != Remove {
			ran = append(ran, vm.Name)
		}
	}
	if len(ran) == 0 {
		return "leave it off: nothing ran when the restore point was made"
	}
	return "power on what ran: " + strings.Join(ran, ", ")
}
