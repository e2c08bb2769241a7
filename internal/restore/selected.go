package restore

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/beevik/etree"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vcd"
)

// selected brings single VMs back into a vApp whose other VMs go on as they
// are: those that are there get their disks swapped, the others are rebuilt
// into it.
func (r *run) selected(ctx context.Context) error {
	r.vapp = r.plan.Live
	for _, vp := range r.plan.VMs {
		if vp.Action == plan.Overwrite {
			if err := r.undeployVM(ctx, *vp.Live); err != nil {
				return err
			}
		}
	}
	if err := r.enter(ctx); err != nil {
		return err
	}
	if err := r.prepare(ctx); err != nil {
		return err
	}
	href := r.vapp.Href
	for i := range r.plan.VMs {
		vp := &r.plan.VMs[i]
		var err error
		switch vp.Action {
		case plan.Overwrite:
			err = r.step(ctx, "overwrite vm "+vp.Name, func(ctx context.Context) error { return r.overwriteVM(ctx, i, vp) })
		case plan.Rebuild:
			err = r.step(ctx, "rebuild vm "+vp.Name, func(ctx context.Context) error { return r.rebuildInto(ctx, i, vp, &href, nil) })
		}
		if err != nil {
			return err
		}
	}
	return r.reload(ctx, href)
}

// undeployVM stops one VM, so that vCD itself releases what it holds of it.
func (r *run) undeployVM(ctx context.Context, vm vcd.VM) error {
	const suspended = 3 // VmType, status
	if vm.Status == suspended {
		if err := r.VCD.DiscardSuspendedState(ctx, vm.Href); err != nil {
			return fmt.Errorf("vm %s: discard its suspended state: %w", vm.Name, err)
		}
	}
	if !vm.Deployed {
		return nil
	}
	return r.step(ctx, "undeploy vm "+vm.Name, func(ctx context.Context) error {
		return r.VCD.Undeploy(ctx, vm.Href, "powerOff")
	})
}

// applySelected gives the VMs what their documents say, and puts back what
// the vApp's own documents say of them.
func (r *run) applySelected(ctx context.Context) error {
	steps := []struct {
		name string
		do   func(context.Context) error
	}{
		{"add networks", r.addNetworks},
		{"apply VM settings", r.applyVMs},
		{"attach named disks", r.applyNamed},
		{"insert media", r.insertMedia},
		{"put back NAT rules", r.putBackRules},
		{"put back startup items", r.putBackStartup},
		{"apply metadata", r.applyVMMetadata},
		{"apply security tags", r.applyTags},
	}
	for _, s := range steps {
		if err := r.step(ctx, s.name, s.do); err != nil {
			return err
		}
		r.did(s.name)
	}
	return nil
}

func (r *run) applyVMMetadata(ctx context.Context) error {
	for _, res := range r.result.VMs {
		if err := r.setMetadata(ctx, vmPath(res.OldID, "metadata.xml"), r.VCD.Href(res.NewID)); err != nil {
			return fmt.Errorf("vm %s: %w", res.Name, err)
		}
	}
	return nil
}

// liveNetworks reads the vApp's networks as they are, fit to be sent back.
func (r *run) liveNetworks(ctx context.Context) (*etree.Document, error) {
	now, err := r.VCD.Get(ctx, r.vapp.Href+"/networkConfigSection/")
	if err != nil {
		return nil, fmt.Errorf("read the vApp's networks: %w", err)
	}
	doc, err := document.Parse(now.Raw)
	if err != nil {
		return nil, fmt.Errorf("read the vApp's networks: %w", err)
	}
	root := doc.Root()
	for _, c := range document.FindAll(root, "NetworkConfig") {
		if document.Attribute(c, "networkName") == "none" {
			root.RemoveChild(c)
			continue
		}
		// The link is what tells vCD which network it is: it stays.
		document.Strip(c, "RouterInfo", "IsDeployed")
	}
	return doc, nil
}

func (r *run) putNetworks(ctx context.Context, doc *etree.Document) error {
	href := r.vapp.Href + "/networkConfigSection/"
	setAttributeIf(doc.Root(), "href", href)
	body, err := document.Encode(doc)
	if err != nil {
		return err
	}
	return r.VCD.PutSection(ctx, href, vcd.TypeNetworkConfig, body)
}

// addNetworks gives the vApp the networks that it lost and the VMs need.
func (r *run) addNetworks(ctx context.Context) error {
	if len(r.plan.AddNetworks) == 0 {
		return nil
	}
	point, err := r.networkConfig(false)
	if err != nil || point == nil {
		return err
	}
	doc, err := r.liveNetworks(ctx)
	if err != nil {
		return err
	}
	for _, c := range document.FindAll(point.Root(), "NetworkConfig") {
		if slices.Contains(r.plan.AddNetworks, document.Attribute(c, "networkName")) {
			document.Strip(c, "Link")
			doc.Root().AddChild(document.Standalone(c).Root())
		}
	}
	return r.putNetworks(ctx, doc)
}

// scopedIDs are the ids within the vApp by which NAT rules name the VMs that
// are restored in their own place.
func (r *run) scopedIDs() map[string]string {
	out := map[string]string{}
	for _, vp := range r.plan.VMs {
		if vp.Action != plan.Leave && !r.plan.Beside && vp.VM.ScopedLocalID != "" {
			out[vp.VM.ScopedLocalID] = vp.Name
		}
	}
	return out
}

// putBackRules makes the NAT rules that name the VMs what they were. Where
// they are, nothing is sent.
func (r *run) putBackRules(ctx context.Context) error {
	ids := r.scopedIDs()
	point, err := r.docs.Tree("vcd/networkConfigSection.xml")
	if err != nil || point == nil || len(ids) == 0 {
		return err
	}
	doc, err := r.liveNetworks(ctx)
	if err != nil {
		return err
	}
	changed := false
	for _, was := range document.FindAll(point.Root(), "NetworkConfig") {
		name := document.Attribute(was, "networkName")
		want := rulesOf(natOf(was), ids)
		i := slices.IndexFunc(document.FindAll(doc.Root(), "NetworkConfig"), func(c *etree.Element) bool {
			return document.Attribute(c, "networkName") == name
		})
		if i < 0 {
			continue // the VMs are on others now: the vApp lost it
		}
		nat := natOf(document.FindAll(doc.Root(), "NetworkConfig")[i])
		have := rulesOf(nat, ids)
		if slices.Equal(texts(want), texts(have)) {
			continue
		}
		if nat == nil || document.Text(nat, "NatType") != document.Text(natOf(was), "NatType") && len(want) > 0 {
			r.warn("", "network "+name+" does not have the NAT service that it had: the rules of the restored VMs are left out")
			continue
		}
		exchange(nat, have, want)
		changed = true
	}
	if !changed {
		return nil
	}
	return r.putNetworks(ctx, doc)
}

func natOf(config *etree.Element) *etree.Element {
	return document.Descend(config, "Configuration", "Features", "NatService")
}

// rulesOf are the NAT rules that name one of the VMs, in their order.
func rulesOf(nat *etree.Element, ids map[string]string) []*etree.Element {
	if nat == nil {
		return nil
	}
	var out []*etree.Element
	for _, rule := range document.FindAll(nat, "NatRule") {
		for _, kind := range rule.ChildElements() {
			if ids[document.Text(kind, "VAppScopedVmId")] != "" {
				out = append(out, rule)
			}
		}
	}
	return out
}

// texts renders rules so that equal ones are equal: their ids, which vCD
// gives anew, left out.
func texts(rules []*etree.Element) []string {
	var out []string
	for _, rule := range rules {
		var b strings.Builder
		render(&b, rule)
		out = append(out, b.String())
	}
	return out
}

func render(b *strings.Builder, e *etree.Element) {
	children := e.ChildElements()
	if e.Tag == "Id" {
		return
	}
	fmt.Fprintf(b, "%s(", e.Tag)
	if len(children) == 0 {
		b.WriteString(strings.TrimSpace(e.Text()))
	}
	for _, c := range children {
		render(b, c)
	}
	b.WriteString(")")
}

// exchange takes rules out and puts others in their place, else at the end.
func exchange(nat *etree.Element, out, in []*etree.Element) {
	at := -1
	for _, rule := range out {
		if at < 0 {
			at = rule.Index()
		}
		nat.RemoveChild(rule)
	}
	for _, rule := range in {
		fresh := rule.Copy()
		// The children must bear the prefix that the section has here.
		prefix(fresh, nat.Space)
		document.Strip(fresh, "Id")
		if at < 0 {
			nat.AddChild(fresh)
			continue
		}
		nat.InsertChildAt(at, fresh)
		at++
	}
}

func prefix(e *etree.Element, space string) {
	e.Space = space
	for _, c := range e.ChildElements() {
		prefix(c, space)
	}
}

// putBackStartup makes the startup items of the VMs what they were.
func (r *run) putBackStartup(ctx context.Context) error {
	point, err := r.docs.Tree("vcd/startupSection.xml")
	if err != nil || point == nil || r.plan.Beside {
		return err
	}
	href := r.vapp.Href + "/startupSection/"
	now, err := r.VCD.Get(ctx, href)
	if err != nil {
		return fmt.Errorf("read the startup section: %w", err)
	}
	doc, err := document.Parse(now.Raw)
	if err != nil {
		return fmt.Errorf("read the startup section: %w", err)
	}
	changed := false
	for _, was := range document.FindAll(point.Root(), "Item") {
		name := document.Attribute(was, "id")
		if !slices.ContainsFunc(r.plan.VMs, func(vm plan.VM) bool { return vm.Action != plan.Leave && vm.Name == name }) {
			continue
		}
		changed = putItem(doc.Root(), was) || changed
	}
	if !changed {
		return nil
	}
	return r.put(ctx, href, vcd.TypeStartup, doc)
}

// putItem sets a startup item in a section, and tells whether that changed it.
func putItem(section, was *etree.Element) bool {
	var item *etree.Element
	for _, i := range document.FindAll(section, "Item") {
		if document.Attribute(i, "id") == document.Attribute(was, "id") {
			item = i
		}
	}
	if item == nil {
		item = was.Copy()
		item.Space = section.Space
		for i, a := range item.Attr {
			if a.Space != "" && a.Space != "xmlns" {
				item.Attr[i].Space = section.Space
			}
		}
		section.AddChild(item)
		return true
	}
	changed := false
	for _, a := range was.Attr {
		if a.Space != "xmlns" && a.Key != "xmlns" && document.Attribute(item, a.Key) != a.Value {
			document.SetAttribute(item, a.Key, a.Value)
			changed = true
		}
	}
	return changed
}

// besideNICs takes the addresses of VMs that are there from NICs that stand
// beside them: those NICs take one of the pool, or of DHCP where there is none.
func (r *run) besideNICs(vm string, section *etree.Element) {
	if !r.plan.Beside {
		return
	}
	for _, nic := range document.FindAll(section, "NetworkConnection") {
		mode, ip := document.Find(nic, "IpAddressAllocationMode"), document.Find(nic, "IpAddress")
		if mode == nil || ip == nil || mode.Text() != "MANUAL" || !r.addressTaken(document.Attribute(nic, "network"), ip.Text()) {
			continue
		}
		mode.SetText("POOL")
		if !r.hasPool(document.Attribute(nic, "network")) {
			mode.SetText("DHCP")
		}
		r.warn(vm, fmt.Sprintf("NIC %s: %s is the address of the VM that it stands beside, it gets another one (%s)",
			document.Text(nic, "NetworkConnectionIndex"), ip.Text(), mode.Text()))
		nic.RemoveChild(ip)
	}
}

// addressTaken tells whether a VM of the vApp has an address on a network.
func (r *run) addressTaken(network, ip string) bool {
	for _, vm := range r.plan.Live.VMs {
		if slices.ContainsFunc(vm.NICs, func(n vcd.NIC) bool { return n.Network == network && n.IP == ip }) {
			return true
		}
	}
	return false
}

// hasPool tells whether a network of the vApp hands out addresses.
func (r *run) hasPool(network string) bool {
	doc, err := r.docs.Tree("vcd/networkConfigSection.xml")
	if err != nil || doc == nil {
		return false
	}
	for _, c := range document.FindAll(doc.Root(), "NetworkConfig") {
		if document.Attribute(c, "networkName") == network {
			return document.Descend(c, "Configuration", "IpScopes", "IpScope", "IpRanges", "IpRange") != nil
		}
	}
	return false
}

// ofSelected tells whether a document is one of a VM that was restored.
func (r *run) ofSelected(name string) bool {
	return slices.ContainsFunc(r.result.VMs, func(vm VMResult) bool {
		return strings.HasPrefix(name, "vcd/vms/"+restorepoint.UUID(vm.OldID)+"/")
	})
}

// readBackSelected compares the documents of the restored VMs, and what the
// vApp's own say of them.
func (r *run) readBackSelected(ctx context.Context) error {
	if err := r.readBack(ctx); err != nil {
		return err
	}
	ids := r.scopedIDs()
	point, err := r.docs.Tree("vcd/networkConfigSection.xml")
	if err != nil || point == nil || len(ids) == 0 {
		return err
	}
	doc, err := r.liveNetworks(ctx)
	if err != nil {
		return err
	}
	r.result.Compared++
	now := map[string][]string{}
	for _, c := range document.FindAll(doc.Root(), "NetworkConfig") {
		now[document.Attribute(c, "networkName")] = texts(rulesOf(natOf(c), ids))
	}
	for _, c := range document.FindAll(point.Root(), "NetworkConfig") {
		name := document.Attribute(c, "networkName")
		for _, rule := range texts(rulesOf(natOf(c), ids)) {
			if !slices.Contains(now[name], rule) {
				r.result.Differences = append(r.result.Differences, document.Difference{
					Document: "vcd/networkConfigSection.xml", Field: "/NetworkConfigSection/NetworkConfig[" + name + "]/NatRule", Want: rule, Got: "none",
				})
			}
		}
	}
	return nil
}

// powerOnSelected switches the restored VMs on, as asked.
func (r *run) powerOnSelected(ctx context.Context) error {
	for _, vp := range r.plan.VMs {
		if vp.Action == plan.Leave || r.plan.Power == plan.PowerOff || r.plan.Power == plan.PowerAsWas && vp.VM.PowerState != "poweredOn" {
			continue
		}
		i := slices.IndexFunc(r.result.VMs, func(res VMResult) bool { return res.OldID == vp.VM.ID })
		if i < 0 {
			continue
		}
		err := r.step(ctx, "power on vm "+vp.Name, func(ctx context.Context) error {
			return r.VCD.PowerOn(ctx, r.VCD.Href(r.result.VMs[i].NewID))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// besideField tells whether a field of a VM's documents must differ from
// those of the VM that it stands beside.
func besideField(field string) bool {
	for _, name := range []string{"/Vm/@name", "/VAppScopedLocalId", "/MACAddress", "/IpAddress", "/IpAddressAllocationMode", "/BiosUuid"} {
		if strings.HasSuffix(field, name) {
			return true
		}
	}
	return strings.Contains(field, "/Connection/@ip") || strings.Contains(field, "/Item[") && strings.HasSuffix(field, "/Address")
}
