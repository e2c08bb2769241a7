package restore

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/beevik/etree"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/restorepoint"
)

// ofSpec lists the parts of a VmSpecSection that are put back into a VM that
// was overwritten. Disks and media are not: of those that a specification
// leaves out vCD deletes the disks.
var ofSpec = []string{"OsType", "Firmware", "NumCpus", "NumCoresPerSocket", "CpuResourceMhz", "MemoryResourceMb", "HardwareVersion", "VirtualCpuType", "TimeSyncWithHost"}

// overwritten tells whether a VM of the restore point is one whose disks were
// swapped; the hardware of a rebuilt one is that of the point already.
func (r *run) overwritten(id string) *plan.VM {
	for i, vp := range r.plan.VMs {
		if vp.Action == plan.Overwrite && vp.VM != nil && vp.VM.ID == id {
			return &r.plan.VMs[i]
		}
	}
	return nil
}

// setHardware makes a specification say what another one says, as far as it
// says anything of it, and tells whether that changed it.
func setHardware(from, to *etree.Element) bool {
	if from == nil || to == nil {
		return false
	}
	changed := false
	for _, name := range ofSpec {
		want, now := document.Find(from, name), document.Find(to, name)
		if want == nil || now == nil || name == "HardwareVersion" && hardware(want) < hardware(now) {
			continue
		}
		changed = setText(want, now) || changed
	}
	return changed
}

func setText(from, to *etree.Element) bool {
	changed := false
	for _, want := range from.ChildElements() {
		if now := document.Find(to, want.Tag); now != nil {
			changed = setText(want, now) || changed
		}
	}
	if len(from.ChildElements()) > 0 || strings.TrimSpace(from.Text()) == strings.TrimSpace(to.Text()) {
		return changed
	}
	to.SetText(strings.TrimSpace(from.Text()))
	document.RemoveAttribute(to, "href") // of a hardware version: the name tells which
	return true
}

// hardware is the number of a hardware version, "vmx-19".
func hardware(e *etree.Element) int {
	n, _ := strconv.Atoi(strings.TrimPrefix(strings.TrimSpace(e.Text()), "vmx-")) // 0 is older than any
	return n
}

// putBackHardware gives an overwritten VM in vSphere what vCD has no words
// for: boot order, flags, extra configuration, drives, controllers.
func (r *run) putBackHardware(ctx context.Context, vm *restorepoint.VM) error {
	vp := r.overwritten(vm.ID)
	if vp == nil {
		return nil
	}
	raw, ok := r.docs["vsphere/"+restorepoint.UUID(vm.ID)+"/config.xml"]
	if !ok {
		return nil
	}
	client, err := r.VSphere(ctx, vp.VimServerHref)
	if err != nil {
		return err
	}
	notes, err := client.VM(vp.LiveMoRef).PutBack(ctx, raw)
	for _, n := range notes {
		r.warn(vp.Name, n.String())
	}
	if err != nil {
		return fmt.Errorf("hardware in vSphere: %w", err)
	}
	return nil
}
