package restore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/beevik/etree"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/vcd"
)

// prepareConfig switches off what must be off, and holds the vApp still.
func (r *run) prepareConfig(ctx context.Context) error {
	r.vapp = r.plan.Live
	r.result.VAppID, r.result.VAppName = r.vapp.ID, r.vapp.Name
	if len(r.plan.Changes) == 0 {
		return nil
	}
	for _, vp := range r.plan.VMs {
		if !vp.SwitchOff {
			continue
		}
		r.switchedOff = append(r.switchedOff, *vp.Live)
		if err := r.undeployVM(ctx, *vp.Live); err != nil {
			return err
		}
		r.did("undeploy " + vp.Name)
	}
	for _, vp := range r.plan.VMs {
		if vp.Action == plan.Configure && slices.ContainsFunc(r.plan.Changes, func(c plan.Change) bool { return c.VMID == vp.VM.ID }) {
			r.result.VMs = append(r.result.VMs, VMResult{
				Name: vp.Name, Action: plan.Configure, OldID: vp.VM.ID, NewID: vp.Live.ID, OldMoRef: vp.VM.MoRef, NewMoRef: vp.LiveMoRef,
			})
		}
	}
	return r.enter(ctx)
}

// switchOnAgain starts what ran before.
func (r *run) switchOnAgain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	var errs []error
	for _, vm := range r.switchedOff {
		const on = 4 // VmType, status
		if vm.Status != on {
			continue
		}
		errs = append(errs, r.step(ctx, "power on vm "+vm.Name, func(ctx context.Context) error { return r.VCD.PowerOn(ctx, vm.Href) }))
	}
	r.switchedOff = nil
	return errors.Join(errs...)
}

// applyChanges applies the sections that differ, and no other.
func (r *run) applyChanges(ctx context.Context) error {
	for _, c := range r.plan.Changes {
		err := r.step(ctx, "apply "+c.Section+" of "+c.Object(), func(ctx context.Context) error { return r.applyChange(ctx, c) })
		if err != nil {
			return err
		}
		r.did("apply " + c.Section)
	}
	return nil
}

func (r *run) applyChange(ctx context.Context, c plan.Change) error {
	href := r.vapp.Href
	for _, res := range r.result.VMs {
		if c.VMID != "" && res.OldID == c.VMID {
			href = r.VCD.Href(res.NewID)
		}
	}
	vm := r.pointVM(c.VMID)
	switch c.Section {
	case plan.SectionName:
		return r.rename(ctx)
	case plan.SectionNetworks:
		return r.applyNetworksAlone(ctx)
	case plan.SectionSettings:
		return r.reconfigure(ctx, vm, href)
	case plan.SectionNICs:
		return r.applyNICs(ctx, vm, href)
	case plan.SectionGuest:
		return r.applyGuest(ctx, vm, href)
	case plan.SectionProducts:
		return r.putProducts(ctx, c.Document, href)
	case plan.SectionStartup:
		return r.applyStartup(ctx)
	case plan.SectionLease:
		return r.applyLease(ctx)
	case plan.SectionMetadata:
		return r.setMetadata(ctx, c.Document, href)
	case plan.SectionTags:
		return r.applyVMTags(ctx, c.Document, vcd.URN(href))
	case plan.SectionOwner:
		return r.applyOwner(ctx)
	case plan.SectionAccess:
		return r.applyAccessList(ctx)
	}
	return fmt.Errorf("section %s: %w", c.Section, errors.ErrUnsupported)
}

// applyNetworksAlone makes the networks what they were. Those that were added
// since stay: NICs may be on them.
func (r *run) applyNetworksAlone(ctx context.Context) error {
	doc, err := r.networkConfig(true)
	if err != nil || doc == nil {
		return err
	}
	live, err := r.liveNetworks(ctx)
	if err != nil {
		return err
	}
	for _, c := range document.FindAll(live.Root(), "NetworkConfig") {
		name := document.Attribute(c, "networkName")
		if hasNetwork(doc.Root(), name) {
			continue
		}
		r.added = append(r.added, name)
		r.warn("", "network "+name+" was added since and stays")
		document.Strip(c, "Link")
		doc.Root().AddChild(document.Standalone(c).Root())
	}
	return r.put(ctx, r.vapp.Href+"/networkConfigSection/", vcd.TypeNetworkConfig, doc)
}

func hasNetwork(section *etree.Element, name string) bool {
	return slices.ContainsFunc(document.FindAll(section, "NetworkConfig"), func(c *etree.Element) bool {
		return document.Attribute(c, "networkName") == name
	})
}

// readBackChanges compares the sections that were asked for once more, those
// that did not differ before included.
func (r *run) readBackChanges(ctx context.Context) error {
	now, err := r.VCD.Capture(ctx, r.vapp.ID)
	if err != nil {
		return err
	}
	r.vapp = now.VApp
	docs, err := r.withoutTheGone()
	if err != nil {
		return err
	}
	left, err := plan.Changes(docs, now.Files, r.plan.VMs, r.plan.Sections)
	if err != nil {
		return err
	}
	for _, c := range left {
		for _, d := range c.Differences {
			if r.chosen(&d); d.Reason == "" {
				d.Reason = r.leftAlone(d)
			}
			r.result.Differences = append(r.result.Differences, d)
		}
	}
	r.result.Compared = len(r.plan.Sections)
	return nil
}

// withoutTheGone are the documents without the rules and startup items of VMs
// that are not there any more: the plan says that those are left out.
func (r *run) withoutTheGone() (document.Set, error) {
	out := maps.Clone(r.docs)
	for _, name := range []string{"vcd/networkConfigSection.xml", "vcd/startupSection.xml"} {
		doc, err := r.docs.Tree(name)
		if err != nil {
			return nil, err
		}
		if doc == nil {
			continue
		}
		r.dropStartup(doc.Root())
		for _, c := range document.FindAll(doc.Root(), "NetworkConfig") {
			if configuration := document.Find(c, "Configuration"); configuration != nil {
				r.dropRules(configuration, document.Attribute(c, "networkName"))
			}
		}
		if out[name], err = document.Encode(doc); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// leftAlone gives a reason to what the plan said it would not change.
func (r *run) leftAlone(d document.Difference) string {
	for _, name := range r.added {
		if document.InEntry(d.Field, "NetworkConfig", name) {
			return "was added since and stays"
		}
	}
	if r.plan.Owner.Href == "" && d.Document == "vcd/owner.xml" {
		return "the owner is gone"
	}
	return ""
}
