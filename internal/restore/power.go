package restore

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/restorepoint"
)

// poweredOn is how a restore point says that a VM ran.
const poweredOn = "poweredOn"

// powerOn switches on what is to run. The whole vApp is vCD's to start, by
// its startup section; of a part the order and the delays are kept here.
func (r *run) powerOn(ctx context.Context) error {
	if r.plan.Power == plan.PowerOff {
		return nil
	}
	return r.step(ctx, "power on", r.start)
}

func (r *run) start(ctx context.Context) error {
	if err := r.fitToStart(); err != nil {
		return err
	}
	all := func(vm *restorepoint.VM) bool { return r.plan.Power == plan.PowerOn || vm.PowerState == poweredOn }
	var start []starter
	for _, res := range r.result.VMs {
		if vm := r.pointVM(res.OldID); vm != nil && all(vm) {
			start = append(start, starter{name: res.Name, href: r.VCD.Href(res.NewID)})
		}
	}
	if r.plan.Power == plan.PowerOn || len(start) == len(r.vapp.VMs) && len(start) > 0 {
		return r.VCD.PowerOn(ctx, r.vapp.Href)
	}
	if err := r.order(start); err != nil {
		return err
	}
	for i, s := range start {
		if err := r.VCD.PowerOn(ctx, s.href); err != nil {
			return fmt.Errorf("vm %s: %w", s.name, err)
		}
		if i == len(start)-1 {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(s.delay):
		}
	}
	return nil
}

// A starter is a VM to be switched on: after those of lower order, and with a
// delay behind it.
type starter struct {
	name, href string
	order      int
	delay      time.Duration
}

// order sorts VMs as the startup section says.
func (r *run) order(start []starter) error {
	doc, err := r.docs.Tree("vcd/startupSection.xml")
	if err != nil {
		return err
	}
	if doc != nil {
		for _, item := range document.FindAll(doc.Root(), "Item") {
			for i := range start {
				if start[i].name != document.Attribute(item, "id") {
					continue
				}
				start[i].order, _ = strconv.Atoi(document.Attribute(item, "order"))
				seconds, _ := strconv.Atoi(document.Attribute(item, "startDelay"))
				start[i].delay = time.Duration(max(seconds, 0)) * time.Second
			}
		}
	}
	slices.SortStableFunc(start, func(a, b starter) int { return a.order - b.order })
	return nil
}

// fitToStart refuses to switch on VMs whose guests would be customized, which
// gives them new identities: unless they were waiting for that when the point
// was made.
func (r *run) fitToStart() error {
	for _, vm := range r.vapp.VMs {
		for _, res := range r.result.VMs {
			if res.NewID != vm.ID || !vm.NeedsCustomization {
				continue
			}
			doc, err := r.docs.Tree(vmPath(res.OldID, "vm.xml"))
			if err != nil {
				return err
			}
			if doc == nil || document.Attribute(doc.Root(), "needsCustomization") != "true" {
				return fmt.Errorf("vm %s: not switched on: its guest would be customized, which it was not to be when the restore point was made", vm.Name)
			}
		}
	}
	return nil
}
