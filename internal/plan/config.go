package plan

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/beevik/etree"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/mark"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vcd"
	"github.com/vappvault/vappvault/internal/wording"
)

// Configure is what a restore of documents alone does with a VM.
const Configure = "configure"

// The sections that can be restored alone, in the order in which they are
// applied.
const (
	SectionName     = "name"     // of the vApp, and its description
	SectionNetworks = "networks" // vApp networks and their rules
	SectionSettings = "settings" // names, descriptions, capabilities, boot options, storage profiles of VMs
	SectionNICs     = "nics"
	SectionGuest    = "guest" // customization
	SectionProducts = "products"
	SectionStartup  = "startup"
	SectionLease    = "lease"
	SectionMetadata = "metadata"
	SectionTags     = "tags" // security tags
	SectionOwner    = "owner"
	SectionAccess   = "access"
)

// Sections lists them all.
var Sections = []string{
	SectionName, SectionNetworks, SectionSettings, SectionNICs, SectionGuest, SectionProducts,
	SectionStartup, SectionLease, SectionMetadata, SectionTags, SectionOwner, SectionAccess,
}

// cold are the sections that vCD does not change of a VM that runs.
var cold = []string{SectionSettings, SectionNICs, SectionGuest}

// sectionDocuments are the documents of a section: those of the vApp, and
// those of each VM.
var sectionDocuments = map[string]struct{ vapp, vm string }{
	SectionName:     {"vapp.xml", ""},
	SectionNetworks: {"networkConfigSection.xml", ""},
	SectionSettings: {"", "vm.xml"},
	SectionNICs:     {"", "networkConnectionSection.xml"},
	SectionGuest:    {"", "guestCustomizationSection.xml"},
	SectionProducts: {"productSections.xml", "productSections.xml"},
	SectionStartup:  {"startupSection.xml", ""},
	SectionLease:    {"leaseSettingsSection.xml", ""},
	SectionMetadata: {"metadata.xml", "metadata.xml"},
	SectionTags:     {"", "securityTags.json"},
	SectionOwner:    {"owner.xml", ""},
	SectionAccess:   {"controlAccess.xml", ""},
}

// parts of documents of which a section is only a part.
var sectionElements = map[string][]string{
	SectionName:     {"Description"},
	SectionSettings: {"Description", "VmCapabilities", "BootOptions", "StorageProfile"},
}

// A Change is a section, of the vApp or of one VM, that is not what it was.
type Change struct {
	Section     string                `json:"section"`
	VMID        string                `json:"vmId,omitempty"` // "" for the vApp's own
	VM          string                `json:"vm,omitempty"`
	Document    string                `json:"document"`
	Differences []document.Difference `json:"differences"`
}

// Object names whose section it is.
func (c Change) Object() string {
	if c.VM == "" {
		return "the vApp"
	}
	return "vm " + c.VM
}

// Changes compares sections of a restore point with the documents of the vApp
// as it is, for the vApp and those VMs. Differences with a reason that lies in
// vCD are left out.
func Changes(docs document.Set, now map[string][]byte, vms []VM, sections []string) ([]Change, error) {
	var out []Change
	for _, section := range Sections {
		if !slices.Contains(sections, section) {
			continue
		}
		of := sectionDocuments[section]
		var all []Change
		if of.vapp != "" {
			all = append(all, Change{Section: section, Document: "vcd/" + of.vapp})
		}
		live := map[string]string{} // where the same document is of the VM that is there
		for _, vm := range vms {
			if of.vm == "" || vm.Live == nil || vm.VM == nil {
				continue
			}
			path := "vcd/vms/" + restorepoint.UUID(vm.VM.ID) + "/" + of.vm
			all = append(all, Change{Section: section, VMID: vm.VM.ID, VM: vm.Name, Document: path})
			live[path] = "vcd/vms/" + restorepoint.UUID(vm.Live.ID) + "/" + of.vm
		}
		for _, c := range all {
			want, ok := docs[c.Document]
			if !ok {
				continue
			}
			var err error
			if c.Differences, err = sectionDiffers(section, c.Document, want, now[cmp.Or(live[c.Document], c.Document)]); err != nil {
				return nil, err
			}
			if len(c.Differences) > 0 {
				out = append(out, c)
			}
		}
	}
	return out, nil
}

func sectionDiffers(section, name string, want, got []byte) ([]document.Difference, error) {
	if got == nil {
		return []document.Difference{{Document: name, Field: "/", Want: "the document", Got: "none"}}, nil
	}
	var err error
	switch section {
	case SectionMetadata:
		if got, err = restorepoint.WithoutMetadata(got, mark.MetadataPrefix); err != nil {
			return nil, fmt.Errorf("document %s: %w", name, err)
		}
	case SectionName, SectionSettings:
		if want, err = only(name, want, sectionElements[section]); err != nil {
			return nil, err
		}
		if got, err = only(name, got, sectionElements[section]); err != nil {
			return nil, err
		}
	}
	all, err := document.Compare(name, want, got)
	return slices.DeleteFunc(all, func(d document.Difference) bool { return d.Reason != "" }), err
}

// only is a document with nothing but those of its elements, and its name.
func only(name string, raw []byte, elements []string) ([]byte, error) {
	doc, err := document.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("document %s: %w", name, err)
	}
	root := doc.Root()
	called := document.Attribute(root, "name")
	for _, c := range root.ChildElements() {
		if !slices.Contains(elements, c.Tag) {
			root.RemoveChild(c)
		}
	}
	root.Attr = slices.DeleteFunc(root.Attr, func(a etree.Attr) bool { return a.Space != "xmlns" && a.Key != "xmlns" })
	document.SetAttribute(root, "name", called)
	return document.Encode(doc)
}

// planConfig finds out which of the sections differ, and what has to be off
// to change them.
func planConfig(o Options) planStep {
	return func(ctx context.Context, d *Deps, p *Plan, point *restorepoint.Point) error {
		p.Sections = o.Sections
		if len(p.Sections) == 0 {
			p.Sections = Sections
		}
		if slices.Contains(p.Sections, SectionNetworks) {
			if err := planNetworks(ctx, d, p, point); err != nil {
				return err
			}
		}
		if slices.Contains(p.Sections, SectionLease) {
			if err := planLease(ctx, d, p, point); err != nil {
				return err
			}
		}
		if slices.Contains(p.Sections, SectionOwner) || slices.Contains(p.Sections, SectionAccess) {
			if err := planPeople(ctx, d, p, point); err != nil {
				return err
			}
		}
		there := p.vmsThere(point)
		if slices.Contains(p.Sections, SectionNICs) {
			if err := planNICs(ctx, d, p, point); err != nil {
				return err
			}
		}
		now, err := d.VCD.Capture(ctx, p.Live.ID)
		if err != nil {
			return err
		}
		docs, _, err := p.Rewrite(d.Docs)
		if err != nil {
			return err
		}
		if p.Changes, err = Changes(docs, now.Files, there, p.Sections); err != nil {
			return err
		}
		p.ownerGone()
		p.switchOff()
		return nil
	}
}

// ownerGone drops the change of an owner who is gone.
func (p *Plan) ownerGone() {
	p.Changes = slices.DeleteFunc(p.Changes, func(c Change) bool { return c.Section == SectionOwner && p.Owner.Href == "" })
}

// vmsThere are the VMs of the restore point that the vApp still has.
func (p *Plan) vmsThere(point *restorepoint.Point) []VM {
	var out []VM
	for i := range point.VMs {
		vm := &point.VMs[i]
		j := slices.IndexFunc(p.Live.VMs, func(l vcd.VM) bool { return p.is(l, *vm) })
		if j < 0 {
			p.conflict(KindVMGone, "vm "+vm.Name, "leave it out, with the rules that name it", "is not in the vApp any more")
			p.VMs = append(p.VMs, VM{Name: vm.Name, Action: Leave, VM: vm})
			continue
		}
		live := &p.Live.VMs[j]
		out = append(out, VM{Name: vm.Name, Action: Configure, VM: vm, Live: live, LiveMoRef: live.VimInfo.VMMoRef})
		p.VMs = append(p.VMs, out[len(out)-1])
	}
	return out
}

// switchOff notes the VMs that must be off for what is to be changed.
func (p *Plan) switchOff() {
	why := map[string][]string{}
	for _, c := range p.Changes {
		switch {
		case c.VM != "" && slices.Contains(cold, c.Section):
			for _, vm := range p.VMs {
				if vm.Live != nil && vm.VM.ID == c.VMID {
					why[vm.Live.ID] = append(why[vm.Live.ID], c.Section)
				}
			}
		case c.Section == SectionNetworks && slices.ContainsFunc(c.Differences, structural):
			for _, vm := range p.VMs {
				if vm.Live != nil {
					why[vm.Live.ID] = append(why[vm.Live.ID], c.Section)
				}
			}
		}
	}
	for i := range p.VMs {
		vm := &p.VMs[i]
		if vm.Live == nil || !vm.Live.Deployed || len(why[vm.Live.ID]) == 0 {
			continue
		}
		vm.SwitchOff = true
		p.conflict(KindRuns, "vm "+vm.Name, "switch it off for it, and on again afterwards", "runs, and vCD changes its %s only while it is off", strings.Join(why[vm.Live.ID], ", "))
	}
}

// structural tells whether a network itself differs, rather than its rules.
func structural(d document.Difference) bool { return !strings.Contains(d.Field, "/Features") }

// configSteps tells in words what a restore of documents alone will do.
func (p *Plan) configSteps() []string {
	if len(p.Changes) == 0 {
		return []string{"nothing: " + strings.Join(p.Sections, ", ") + " are as in the restore point"}
	}
	var out []string
	for _, vm := range p.VMs {
		if vm.SwitchOff {
			out = append(out, "undeploy vm "+vm.Name)
		}
	}
	out = append(out, "put vApp "+p.VAppName+" in maintenance mode; its disks stay as they are")
	for _, c := range p.Changes {
		out = append(out, fmt.Sprintf("apply %s of %s: %s", c.Section, c.Object(), wording.Count(len(c.Differences), "field")+" differ"+singular(len(c.Differences))))
	}
	out = append(out, "read these sections back and compare", "exit maintenance mode")
	for _, vm := range p.VMs {
		if vm.SwitchOff {
			out = append(out, "power on vm "+vm.Name)
		}
	}
	return out
}

func singular(n int) string {
	if n == 1 {
		return "s"
	}
	return ""
}
