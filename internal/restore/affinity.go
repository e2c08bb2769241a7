package restore

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/beevik/etree"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/vcd"
)

// affinityDir holds the rules that named VMs of the vApp.
const affinityDir = "vcd/context/affinityRules/"

// affinity puts the VMs back into the affinity rules that named them: vCD
// takes a VM that is deleted out of its rules, and the rule away with the
// last but one. Rules may name VMs of other vApps, so they come after the
// point from which on nothing of the restore is taken back; one that cannot
// be had is a difference.
func (r *run) affinity(ctx context.Context) error {
	if r.plan.Beside {
		return nil // a VM of its own, which the rules of the old one do not name
	}
	for _, path := range sortedPaths(r.docs, affinityDir) {
		rule, err := r.docs.Tree(path)
		if err != nil {
			return err
		}
		err = r.applyRule(ctx, rule.Root())
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			name := document.Text(rule.Root(), "Name")
			r.warn("", fmt.Sprintf("affinity rule %s: %v", name, err))
			r.result.Differences = append(r.result.Differences, document.Difference{Document: path, Field: "/VmAffinityRule", Want: name, Got: err.Error()})
		}
	}
	return nil
}

// applyRule adds VMs to the rule that is there, or makes it again.
func (r *run) applyRule(ctx context.Context, was *etree.Element) error {
	var ours, others []string // ids of VMs now
	for _, ref := range document.FindAll(orEmpty(document.Find(was, "VmReferences")), "VmReference") {
		id := vcd.URN(document.Attribute(ref, "href"))
		switch now := r.nowOf(id); {
		case now != "":
			ours = append(ours, now)
		case r.plan.Mode != plan.ModeCopy: // of another vApp, or not asked for now
			others = append(others, id)
		}
	}
	if len(ours) == 0 {
		return nil
	}
	href := document.Attribute(was, "href")
	if r.plan.Mode != plan.ModeCopy {
		now, err := r.VCD.Get(ctx, href)
		if err == nil {
			return r.joinRule(ctx, href, now.Raw, ours)
		}
		if !vcd.IsNotFound(err) && !vcd.IsForbidden(err) {
			return err
		}
	}
	return r.makeRule(ctx, was, slices.Concat(ours, r.existing(ctx, others)))
}

// joinRule adds the VMs that a rule lacks.
func (r *run) joinRule(ctx context.Context, href string, raw []byte, ours []string) error {
	doc, err := document.Parse(raw)
	if err != nil {
		return err
	}
	refs := document.Find(doc.Root(), "VmReferences")
	if refs == nil {
		return fmt.Errorf("no VmReferences in %s", href)
	}
	there := map[string]bool{}
	for _, ref := range document.FindAll(refs, "VmReference") {
		there[vcd.URN(document.Attribute(ref, "href"))] = true
	}
	ours = slices.DeleteFunc(slices.Clone(ours), func(id string) bool { return there[id] })
	if len(ours) == 0 {
		return nil
	}
	r.refer(refs, ours)
	return r.sendRule(ctx, http.MethodPut, href, doc)
}

// makeRule makes a rule with the properties that one had.
func (r *run) makeRule(ctx context.Context, was *etree.Element, vms []string) error {
	if len(vms) < 2 {
		return fmt.Errorf("only %d of its VMs is there, and a rule needs two", len(vms))
	}
	doc := document.Standalone(was)
	refs := document.Find(doc.Root(), "VmReferences")
	for _, ref := range refs.ChildElements() {
		refs.RemoveChild(ref)
	}
	r.refer(refs, vms)
	for _, a := range []string{"href", "id", "type", "operationKey"} {
		document.RemoveAttribute(doc.Root(), a)
	}
	return r.sendRule(ctx, http.MethodPost, strings.TrimRight(r.plan.VDC.Href, "/")+"/vmAffinityRules/", doc)
}

func (r *run) sendRule(ctx context.Context, method, href string, doc *etree.Document) error {
	document.Strip(doc.Root(), "Link", "Tasks")
	body, err := document.Encode(doc)
	if err != nil {
		return err
	}
	_, err = r.VCD.DoTask(ctx, vcd.Request{Method: method, Href: href, ContentType: vcd.TypeAffinityRule, Body: body})
	return err
}

// refer adds references to VMs.
func (r *run) refer(refs *etree.Element, vms []string) {
	for _, id := range vms {
		ref := refs.CreateElement("VmReference")
		ref.Space = refs.Space
		ref.CreateAttr("href", r.VCD.Href(id))
	}
}

// existing returns those VMs that are still there.
func (r *run) existing(ctx context.Context, ids []string) []string {
	return slices.DeleteFunc(ids, func(id string) bool {
		_, err := r.VCD.VM(ctx, id)
		return err != nil
	})
}

// nowOf is the id that a VM of the restore point has now; "" where this
// restore did not bring it back.
func (r *run) nowOf(id string) string {
	for _, vm := range r.result.VMs {
		if vm.OldID == id {
			return vm.NewID
		}
	}
	return ""
}

func orEmpty(e *etree.Element) *etree.Element {
	if e == nil {
		return etree.NewElement("none")
	}
	return e
}

// sortedPaths lists the documents in a folder of a restore point.
func sortedPaths(docs document.Set, dir string) []string {
	var out []string
	for path := range docs {
		if strings.HasPrefix(path, dir) {
			out = append(out, path)
		}
	}
	slices.Sort(out)
	return out
}
