package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/beevik/etree"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vcd"
)

// Reasons say why a field will not be what the restore point has: document,
// field, reason.
type Reasons map[string]map[string]string

// A rewriting edits a document; it tells why, or "" where it left it alone.
type rewriting func(path string, root *etree.Element) string

// Rewrite returns the documents of the restore point as the plan wants them:
// other names, networks, profiles, people, leases and addresses. Whoever
// applies them needs to know of no override. The restore point's own documents
// stay as they are.
func (p *Plan) Rewrite(docs document.Set) (document.Set, Reasons, error) {
	out, changes := document.Set{}, Reasons{}
	rules := p.rewritings()
	for path, raw := range docs {
		out[path] = raw
		if !strings.HasPrefix(path, "vcd/") || strings.HasPrefix(path, "vcd/context/") || !strings.HasSuffix(path, ".xml") {
			continue
		}
		tree, err := docs.Tree(path)
		if err != nil {
			return nil, nil, err
		}
		for _, rule := range rules {
			why := rule(path, tree.Root())
			if why == "" {
				continue
			}
			next, err := document.Encode(tree)
			if err != nil {
				return nil, nil, fmt.Errorf("document %s: %w", path, err)
			}
			differences, err := document.Compare(path, out[path], next)
			if err != nil {
				return nil, nil, err
			}
			if changes[path] == nil {
				changes[path] = map[string]string{}
			}
			for _, d := range differences {
				changes[path][d.Field] = why
			}
			out[path] = next
		}
	}
	return out, changes, nil
}

func (p *Plan) rewritings() []rewriting {
	out := []rewriting{p.rewriteName, p.rewriteOwner, p.rewriteLease(0), p.rewriteLease(1), p.rewriteProfiles, p.rewritePolicies}
	for i := range p.VAppNetworks {
		out = append(out, p.rewriteNetwork(&p.VAppNetworks[i]))
	}
	for i := range p.Access {
		out = append(out, rewriteSubject(p.Access[i]))
	}
	for i := range p.VMs {
		vm := &p.VMs[i]
		if vm.VM == nil || vm.Action == Leave {
			continue
		}
		if vm.Was != "" {
			out = append(out, rewriteVMName(vm))
		}
		for _, uuid := range sortedKeys(vm.media) {
			out = append(out, rewriteMedium(vm, uuid, vm.media[uuid]))
		}
		for j := range vm.NICs {
			for _, element := range sortedKeys(vm.NICs[j].why) {
				out = append(out, rewriteNIC(vm, &vm.NICs[j], element))
			}
		}
	}
	return out
}

// because is the reason that a difference has by a flag or a resolution.
func because(why string) string {
	if strings.HasPrefix(why, "--") {
		return "by override " + why
	}
	return why
}

func (p *Plan) rewriteName(path string, root *etree.Element) string {
	if path != "vcd/vapp.xml" || document.Attribute(root, "name") == p.VAppName {
		return ""
	}
	document.SetAttribute(root, "name", p.VAppName)
	if p.options.As != "" {
		return "a copy has its own name"
	}
	return because("--name " + flagName(p.VAppName))
}

func (p *Plan) rewriteOwner(path string, root *etree.Element) string {
	user := document.Find(root, "User")
	if path == "vcd/vapp.xml" {
		user = document.Descend(root, "Owner", "User")
	} else if path != "vcd/owner.xml" {
		return ""
	}
	if user == nil || p.Owner.Name == "" || document.Attribute(user, "name") == p.Owner.Name {
		return ""
	}
	document.SetAttribute(user, "name", p.Owner.Name)
	return because("--owner " + flagName(p.Owner.Name))
}

// rewriteLease sets the runtime lease (0) or the storage lease (1).
func (p *Plan) rewriteLease(part int) rewriting {
	return func(path string, root *etree.Element) string {
		if path == "vcd/vapp.xml" {
			root = document.Find(root, "LeaseSettingsSection")
		} else if path != "vcd/leaseSettingsSection.xml" {
			return ""
		}
		if root == nil || p.Lease == nil || p.Lease.why[part] == "" {
			return ""
		}
		local, value := "DeploymentLeaseInSeconds", p.Lease.Deployment
		if part == 1 {
			local, value = "StorageLeaseInSeconds", p.Lease.Storage
		}
		if e := document.Find(root, local); e != nil {
			e.SetText(strconv.FormatInt(value, 10))
		}
		return because(p.Lease.why[part])
	}
}

func (p *Plan) rewriteProfiles(path string, root *etree.Element) string {
	if !strings.HasSuffix(path, "/vm.xml") {
		return ""
	}
	changed := false
	for _, e := range root.FindElements(".//StorageProfile") {
		name := document.Attribute(e, "name")
		to := p.StorageProfiles[name]
		if to == "" || to == name {
			continue
		}
		document.SetAttribute(e, "name", to)
		document.SetAttribute(e, "href", p.Profiles[to])
		document.RemoveAttribute(e, "id")
		changed = true
	}
	if !changed {
		return ""
	}
	if len(p.options.Overrides.StorageProfiles) > 0 {
		return because("--storage-profile")
	}
	return "the VDC does not offer the storage profile"
}

// rewritePolicies points to the policies of the VDC, which may be others of
// the same name.
func (p *Plan) rewritePolicies(path string, root *etree.Element) string {
	compute := document.Find(root, "ComputePolicy")
	if !strings.HasSuffix(path, "/vm.xml") || compute == nil || p.ComputePolicies == nil {
		return ""
	}
	why := ""
	for _, kind := range policyKinds {
		e := document.Find(compute, kind)
		if e == nil {
			continue
		}
		name := document.Attribute(e, "name")
		to, known := p.policies[p.ComputePolicies[name]]
		switch {
		case !known:
			compute.RemoveChild(e)
			document.Strip(compute, kind+"Final")
		default:
			document.SetAttribute(e, "href", to.Href)
			document.SetAttribute(e, "id", "urn:vcloud:vdcComputePolicy:"+vcd.UUID(to.Href))
			document.SetAttribute(e, "name", to.Name)
		}
		if to.Name != name {
			why = "the VDC does not offer the compute policy"
			if _, asked := lookup(p.options.Overrides.ComputePolicies, name); asked {
				why = because("--compute-policy")
			}
		}
	}
	if document.Find(compute, policyKinds[0]) == nil && document.Find(compute, policyKinds[1]) == nil {
		root.RemoveChild(compute)
	}
	if why == "" {
		why = "the compute policy is another one of the same name"
	}
	return why
}

func rewriteSubject(s Subject) rewriting {
	return func(path string, root *etree.Element) string {
		settings := document.Find(root, "AccessSettings")
		if path != "vcd/controlAccess.xml" || settings == nil || s.why == "" && s.To != nil && s.To.Name == s.Name {
			return ""
		}
		for _, e := range document.FindAll(settings, "AccessSetting") {
			subject := document.Find(e, "Subject")
			if subject == nil || document.Attribute(subject, "name") != s.Name {
				continue
			}
			if s.To == nil {
				settings.RemoveChild(e)
				break
			}
			document.SetAttribute(subject, "name", s.To.Name)
			document.SetAttribute(subject, "href", s.To.Href)
			document.RemoveAttribute(subject, "id")
			break
		}
		if len(settings.ChildElements()) == 0 {
			root.RemoveChild(settings)
		}
		return because(orElse(s.why, "it is of the organization where the vApp is now"))
	}
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// rewriteNetwork gives a vApp network its name, its parent and its fence mode,
// wherever a document has them.
func (p *Plan) rewriteNetwork(n *Network) rewriting {
	return func(path string, root *etree.Element) string {
		if n.why == "" {
			return ""
		}
		changed := false
		switch {
		case path == "vcd/vapp.xml":
			for _, local := range []string{"NetworkConfigSection", "NetworkSection"} {
				changed = n.inSection(document.Find(root, local)) || changed
			}
		case path == "vcd/networkConfigSection.xml" || path == "vcd/networkSection.xml":
			changed = n.inSection(root)
		case strings.HasPrefix(path, "vcd/networks/") && document.Attribute(root, "name") == n.Name:
			document.SetAttribute(root, "name", n.As)
			n.configure(document.Find(root, "Configuration"))
			changed = true
		}
		if !changed {
			return ""
		}
		return because(n.why)
	}
}

func (n *Network) inSection(section *etree.Element) bool {
	changed := false
	if section == nil {
		return false
	}
	for _, c := range document.FindAll(section, "NetworkConfig") {
		if document.Attribute(c, "networkName") == n.Name {
			document.SetAttribute(c, "networkName", n.As)
			n.configure(document.Find(c, "Configuration"))
			changed = true
		}
	}
	for _, c := range document.FindAll(section, "Network") {
		if document.Attribute(c, "name") == n.Name {
			document.SetAttribute(c, "name", n.As)
			changed = true
		}
	}
	return changed
}

// configure changes a NetworkConfiguration. An isolated network has a subnet
// of its own and no service but DHCP.
func (n *Network) configure(c *etree.Element) {
	if c == nil {
		return
	}
	parent := document.Find(c, "ParentNetwork")
	if parent != nil && n.Parent != "" {
		document.SetAttribute(parent, "name", n.Parent)
		return
	}
	if n.Mode != modeIsolated || n.Was == "" {
		return
	}
	if parent != nil {
		c.RemoveChild(parent)
	}
	if mode := document.Find(c, "FenceMode"); mode != nil {
		mode.SetText(modeIsolated)
	}
	for _, scope := range c.FindElements("./IpScopes/IpScope") {
		if inherited := document.Find(scope, "IsInherited"); inherited != nil {
			inherited.SetText("false")
		}
	}
	document.Strip(c, "NatService", "FirewallService", "StaticRoutingService", "SyslogServerSettings", "RouterInfo", "ConnectionType", "SubInterface", "DistributedInterface")
	if features := document.Find(c, "Features"); features != nil && len(features.ChildElements()) == 0 {
		c.RemoveChild(features)
	}
}

// rewriteVMName renames a VM, and what calls it by its name.
func rewriteVMName(vm *VM) rewriting {
	uuid := restorepoint.UUID(vm.VM.ID)
	return func(path string, root *etree.Element) string {
		section := root
		switch path {
		case "vcd/vms/" + uuid + "/vm.xml":
			document.SetAttribute(root, "name", vm.Name)
			return because("--vm-name " + flagName(vm.Was) + "=" + flagName(vm.Name))
		case "vcd/vapp.xml":
			section = document.Find(root, "StartupSection")
		case "vcd/startupSection.xml":
		default:
			return ""
		}
		if section == nil {
			return ""
		}
		for _, item := range document.FindAll(section, "Item") {
			if document.Attribute(item, "id") == vm.Was {
				document.SetAttribute(item, "id", vm.Name)
				return because("--vm-name " + flagName(vm.Was) + "=" + flagName(vm.Name))
			}
		}
		return ""
	}
}

// rewriteMedium exchanges what is in a drive.
func rewriteMedium(vm *VM, was string, to exchange) rewriting {
	dir := "vcd/vms/" + restorepoint.UUID(vm.VM.ID) + "/"
	return func(path string, root *etree.Element) string {
		switch path {
		case dir + "vm.xml":
			root = document.Find(root, "VirtualHardwareSection")
		case dir + "virtualHardwareSection.xml":
		default:
			return ""
		}
		if root == nil || vcd.UUID(to.href) == was {
			return ""
		}
		for _, e := range root.FindElements("./Item/HostResource") {
			if vcd.UUID(e.Text()) == was {
				e.SetText(to.href)
				return because(to.why)
			}
		}
		return ""
	}
}

// rewriteNIC changes one thing about a NIC, in the section that is sent and in
// those that repeat it.
func rewriteNIC(vm *VM, n *NIC, element string) rewriting {
	dir := "vcd/vms/" + restorepoint.UUID(vm.VM.ID) + "/"
	return func(path string, root *etree.Element) string {
		switch path {
		case dir + "networkConnectionSection.xml":
			n.inSection(root, element)
		case dir + "virtualHardwareSection.xml":
			n.inHardware(root, element)
		case dir + "vm.xml":
			n.inSection(document.Find(root, "NetworkConnectionSection"), element)
			n.inHardware(document.Find(root, "VirtualHardwareSection"), element)
		default:
			return ""
		}
		return because(n.why[element])
	}
}

// nicOrder is the order of the schema (NetworkConnectionType), for what is
// put in.
var nicOrder = []string{"NetworkConnectionIndex", "IpAddress", "IpType", "SecondaryIpAddress", "SecondaryIpType", "ExternalIpAddress", "IsConnected", "MACAddress", "IpAddressAllocationMode"}

func (n *NIC) inSection(section *etree.Element, element string) {
	if section == nil {
		return
	}
	values := map[string]string{
		"IpAddress": n.IP, "MACAddress": n.MAC, "IpAddressAllocationMode": n.Mode, "IsConnected": strconv.FormatBool(n.Connected),
	}
	for _, c := range document.FindAll(section, "NetworkConnection") {
		if document.Text(c, "NetworkConnectionIndex") != strconv.Itoa(n.Index) {
			continue
		}
		if element == "network" {
			document.SetAttribute(c, "network", n.Network)
			continue
		}
		e := document.Find(c, element)
		switch value := values[element]; {
		case value == "" && e != nil:
			c.RemoveChild(e)
		case value != "" && e != nil:
			e.SetText(value)
		case value != "":
			insertIn(c, element, value, nicOrder)
		}
	}
}

// insertIn adds an element where its schema wants it.
func insertIn(parent *etree.Element, local, value string, order []string) {
	at := 0
	for _, c := range parent.ChildElements() {
		if i := slices.Index(order, c.Tag); i >= 0 && i < slices.Index(order, local) {
			at = c.Index() + 1
		}
	}
	e := etree.NewElement(local)
	e.Space = parent.Space
	e.SetText(value)
	parent.InsertChildAt(at, e)
}

// inHardware does the same in the OVF's words.
func (n *NIC) inHardware(section *etree.Element, element string) {
	if section == nil {
		return
	}
	const ethernet = "10" // CIM resource type
	for _, item := range document.FindAll(section, "Item") {
		if document.Text(item, "ResourceType") != ethernet || document.Text(item, "AddressOnParent") != strconv.Itoa(n.Index) {
			continue
		}
		connection := document.Find(item, "Connection")
		switch {
		case element == "MACAddress":
			if e := document.Find(item, "Address"); e != nil {
				e.SetText(n.MAC)
			}
		case element == "IsConnected":
			if e := document.Find(item, "AutomaticAllocation"); e != nil {
				e.SetText(strconv.FormatBool(n.Connected))
			}
		case connection == nil:
		case element == "network":
			was := connection.Text()
			connection.SetText(n.Network)
			if e := document.Find(item, "Description"); e != nil {
				e.SetText(strings.Replace(e.Text(), `"`+was+`"`, `"`+n.Network+`"`, 1))
			}
		case element == "IpAddressAllocationMode":
			document.SetAttribute(connection, "ipAddressingMode", n.Mode)
		case n.IP == "":
			document.RemoveAttribute(connection, "ipAddress")
		case document.Attribute(connection, "ipAddress") == "":
			connection.CreateAttr("vcloud:ipAddress", n.IP)
		default:
			document.SetAttribute(connection, "ipAddress", n.IP)
		}
	}
}
