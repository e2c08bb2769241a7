package director

import (
	"context"
	"fmt"
	"slices"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// An affinityRule keeps VMs of a VDC on one host or apart.
type affinityRule struct {
	thing
	vdc                string // id
	enabled, mandatory bool
	polarity           string // Affinity, Anti-Affinity
	vms                []*vm
}

const mediaAffinity = mediaVCloud + "vmaffinityrule"

func ruleOwner(r *affinityRule) taskOwner { return taskOwner{"vmAffinityRule", r.id, r.name} }

func (c *call) ruleNode(r *affinityRule) *node {
	href := c.s.href("/api/vmAffinityRule/" + r.id)
	refs := el("VmReferences")
	for _, m := range r.vms {
		add(refs, c.s.vmRef(m))
	}
	return add(el("VmAffinityRule", "id", "urn:vcloud:vmAffinityRule:"+r.id, "href", href, "type", mediaAffinity+"+xml"),
		link("up", c.s.href("/api/vdc/"+r.vdc), mediaVCloud+"vdc+xml"), link("edit", href, mediaAffinity+"+xml"), link("remove", href, ""),
		text("Name", r.name), boolean("IsEnabled", r.enabled), boolean("IsMandatory", r.mandatory), text("Polarity", r.polarity), text("Scope", "Host"), refs)
}

// affinityRules lists a VDC's rules.
func (c *call) affinityRules() (*answer, error) {
	v, err := c.theVDC()
	if err != nil {
		return nil, err
	}
	href := c.s.href("/api/vdc/" + v.id + "/vmAffinityRules")
	d := add(el("VmAffinityRules", "href", href, "type", mediaVCloud+"vmaffinityrules+xml"), link("up", c.s.href("/api/vdc/"+v.id), mediaVCloud+"vdc+xml"),
		link("add", href, mediaAffinity+"+xml"))
	for _, r := range sorted(c.s.rules) {
		if r.vdc == v.id {
			add(d, c.ruleNode(r))
		}
	}
	return ok(mediaVCloud+"vmaffinityrules", d), nil
}

// theRule is the rule of the path.
func (c *call) theRule() (*affinityRule, error) {
	id := uuidIn(c.path("id"))
	r := c.s.rules[id]
	if r == nil {
		return nil, missing("vmAffinityRule", or(id, c.path("id")))
	}
	if !c.provider() && c.s.vdcs[r.vdc].org != c.login.org.id {
		return nil, noAccess("vmAffinityRule", id)
	}
	return r, nil
}

func (c *call) getRule() (*answer, error) {
	r, err := c.theRule()
	if err != nil {
		return nil, err
	}
	return ok(mediaAffinity, c.ruleNode(r)), nil
}

// readRule checks a rule's document. All of its elements are required
// (AffinityRuleType).
func (c *call) readRule(v *vdc, old *affinityRule) (*affinityRule, error) {
	doc, err := c.parse(nsVCloud, "VmAffinityRule")
	if err != nil {
		return nil, err
	}
	r := &affinityRule{thing: thing{id: newID(), name: value(doc, "Name"), seq: c.s.next()}, vdc: v.id, enabled: truth(or(value(doc, "IsEnabled"), "true")),
		mandatory: truth(value(doc, "IsMandatory")), polarity: value(doc, "Polarity")}
	if old != nil {
		r.thing.id, r.thing.seq = old.id, old.seq
	}
	switch {
	case r.name == "":
		return nil, badRequest("An affinity rule needs a name.")
	case r.polarity != "Affinity" && r.polarity != "Anti-Affinity":
		return nil, badRequest("The polarity %q is not Affinity or Anti-Affinity.", r.polarity)
	case old != nil && r.polarity != old.polarity:
		return nil, badRequest("The polarity of the affinity rule %q cannot be changed.", old.name)
	}
	for _, ref := range childrenOf(child(doc, "VmReferences"), "VmReference") {
		m := c.s.vms[uuidIn(attr(ref, "href"))]
		switch {
		case m == nil || c.level(m.vapp) == accessNone || m.vapp.vdc != v.id:
			return nil, badRequest("The VM %s is not in VDC %q.", attr(ref, "href"), v.name)
		case slices.Contains(r.vms, m):
			return nil, badRequest("The VM %q is in the affinity rule twice.", m.name)
		}
		r.vms = append(r.vms, m)
	}
	if len(r.vms) < 2 {
		return nil, badRequest("An affinity rule needs at least two VMs.")
	}
	return r, c.overlap(r)
}

// overlap refuses VMs that a rule of the same polarity has, and such as would
// have to be together and apart.
func (c *call) overlap(r *affinityRule) error {
	for _, o := range sorted(c.s.rules) {
		if o.id == r.id || o.vdc != r.vdc {
			continue
		}
		both := 0
		for _, m := range o.vms {
			if slices.Contains(r.vms, m) {
				both++
			}
		}
		if both > 0 && o.polarity == r.polarity || both > 1 {
			return badRequest("VMs of the affinity rule %q are in the rule %q already.", r.name, o.name)
		}
	}
	return nil
}

func (c *call) createRule() (*answer, error) {
	v, err := c.theVDC()
	if err != nil {
		return nil, err
	}
	r, err := c.readRule(v, nil)
	if err != nil {
		return nil, err
	}
	return c.ruleTask("vdcCreateVmAffinityRule", "Creating VM affinity rule", r, nil, r)
}

func (c *call) putRule() (*answer, error) {
	old, err := c.theRule()
	if err != nil {
		return nil, err
	}
	r, err := c.readRule(c.s.vdcs[old.vdc], old)
	if err != nil {
		return nil, err
	}
	return c.ruleTask("vdcUpdateVmAffinityRule", "Updating VM affinity rule", old, old, r)
}

func (c *call) deleteRule() (*answer, error) {
	r, err := c.theRule()
	if err != nil {
		return nil, err
	}
	return c.ruleTask("vdcDeleteVmAffinityRule", "Deleting VM affinity rule", r, r, nil)
}

// ruleTask replaces one rule by another, in vCenter first; nil is none.
func (c *call) ruleTask(name, operation string, shown, old, now *affinityRule) (*answer, error) {
	if c.s.working(shown.id) {
		return nil, busy("com.vmware.vcloud.entity.vmAffinityRule", shown.name)
	}
	v := c.s.vdcs[shown.vdc]
	return c.accepted(c.start(name, operation, ruleOwner(shown), func(ctx context.Context) error {
		if err := v.vc.setRule(ctx, v, shown.id, now); err != nil {
			return fmt.Errorf("affinity rule %s: %w", shown.name, err)
		}
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		switch {
		case now == nil:
			delete(c.s.rules, old.id)
		case old == nil:
			c.s.rules[now.id] = now
		default:
			*old = *now
		}
		return nil
	})), nil
}

// setRule makes the rule of a cluster what it is to be; nil takes it away.
// vCD marks its rules by their ids.
func (vc *vcenter) setRule(ctx context.Context, v *vdc, id string, r *affinityRule) error {
	client, err := vc.connect(ctx)
	if err != nil {
		return err
	}
	owner, err := object.NewResourcePool(client, v.pool).Owner(ctx)
	if err != nil {
		return err
	}
	cluster, is := owner.(*object.ClusterComputeResource)
	if !is {
		return nil // a host on its own keeps all VMs together
	}
	var now mo.ClusterComputeResource
	if err := property.DefaultCollector(client).RetrieveOne(ctx, cluster.Reference(), []string{"configurationEx"}, &now); err != nil {
		return err
	}
	conf, _ := now.ConfigurationEx.(*types.ClusterConfigInfoEx)
	spec := &types.ClusterConfigSpecEx{}
	if conf != nil {
		for _, old := range conf.Rule {
			if info := old.GetClusterRuleInfo(); info.Name == "vcd-"+id {
				spec.RulesSpec = append(spec.RulesSpec, types.ClusterRuleSpec{ArrayUpdateSpec: types.ArrayUpdateSpec{
					Operation: types.ArrayUpdateOperationRemove, RemoveKey: info.Key}})
			}
		}
	}
	if r != nil {
		spec.RulesSpec = append(spec.RulesSpec, types.ClusterRuleSpec{ArrayUpdateSpec: types.ArrayUpdateSpec{Operation: types.ArrayUpdateOperationAdd},
			Info: r.vimRule(id)})
	}
	if len(spec.RulesSpec) == 0 {
		return nil
	}
	t, err := cluster.Reconfigure(ctx, spec, true)
	return await(ctx, t, err)
}

func (r *affinityRule) vimRule(id string) types.BaseClusterRuleInfo {
	info := types.ClusterRuleInfo{Name: "vcd-" + id, Enabled: &r.enabled, Mandatory: &r.mandatory, UserCreated: types.NewBool(true)}
	var refs []types.ManagedObjectReference
	for _, m := range r.vms {
		refs = append(refs, vmRef(m.moref))
	}
	if r.polarity == "Affinity" {
		return &types.ClusterAffinityRuleSpec{ClusterRuleInfo: info, Vm: refs}
	}
	return &types.ClusterAntiAffinityRuleSpec{ClusterRuleInfo: info, Vm: refs}
}

// unrule takes a VM out of all rules. One that is left with a single VM goes.
func (s *Server) unrule(m *vm) {
	for id, r := range s.rules {
		r.vms = slices.DeleteFunc(slices.Clone(r.vms), func(v *vm) bool { return v == m })
		if len(r.vms) < 2 {
			delete(s.rules, id)
		}
	}
}
