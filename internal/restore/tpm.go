package restore

import (
	"context"
	"fmt"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/restorepoint"
)

// applyTPM gives a VM that had a virtual TPM a blank one: the keys of the old
// one are not in any backup. Without a key provider vCenter refuses, and the
// VM stays without: that is a difference, not the end of the restore.
func (r *run) applyTPM(ctx context.Context, vm *restorepoint.VM, href string) error {
	doc, err := r.docs.Tree(vmPath(vm.ID, "vm.xml"))
	if err != nil || doc == nil || document.Text(doc.Root(), "TrustedPlatformModule", "TpmPresent") != "true" {
		return err
	}
	raw, err := r.VCD.Get(ctx, href)
	if err != nil {
		return err
	}
	now, err := document.Parse(raw.Raw)
	if err != nil {
		return err
	}
	if document.Text(now.Root(), "TrustedPlatformModule", "TpmPresent") == "true" {
		return nil
	}
	root := doc.Root()
	for _, c := range root.ChildElements() {
		if c.Tag != "TrustedPlatformModule" {
			root.RemoveChild(c)
		}
	}
	bareVM(root)
	document.Strip(root, "Link")
	for _, a := range []string{"href", "type"} {
		document.RemoveAttribute(document.Find(root, "TrustedPlatformModule"), a)
	}
	body, err := document.Encode(doc)
	if err != nil {
		return err
	}
	if err := r.VCD.ReconfigureVM(ctx, href, body); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r.warn(vm.Name, fmt.Sprintf("it has no virtual TPM any more: %v", err))
		r.lost(vm)
		return nil
	}
	r.warn(vm.Name, "its virtual TPM is blank: what the guest had sealed with the old one stays locked (have the recovery keys at hand)")
	return nil
}

// lost notes in the plan that a VM could not be given a virtual TPM, not even
// a blank one: the restore then ends as a partial one.
func (r *run) lost(vm *restorepoint.VM) {
	for _, planned := range r.plan.VMs {
		if planned.VM == nil || planned.VM.ID != vm.ID {
			continue
		}
		for i := range r.plan.Conflicts {
			if c := &r.plan.Conflicts[i]; c.Kind == plan.KindTPM && c.Object == "vm "+planned.Name {
				c.Resolution, c.Loss = "vCenter made no blank one", true
			}
		}
	}
}
