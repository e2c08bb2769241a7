package director

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// A sourced is a VM that a vApp or a template is made of, out of another one.
type sourced struct {
	from   *vm
	vm     *vm
	move   bool
	nics   *node             // NetworkConnectionSection; nil for the source's NICs
	guest  *node             // GuestCustomizationSection
	assign map[string]string // networks of the source -> of the vApp
	sizes  map[int32]int64   // bytes that disks are to have, by key
	cpus   int32
	cores  int32
	memory int64 // MB
}

// occupySources keeps the VMs that are copied or moved for the task.
func occupySources(t *task, items []sourced) {
	for _, it := range items {
		t.busy = append(t.busy, it.from.id)
		if it.vm.vapp.template == nil && !it.move {
			t.coming = append(t.coming, it.expect())
		}
	}
}

// readItems reads the SourcedItems of a body. A source is a VM, or a vApp or a
// template for all its VMs.
func (c *call) readItems(a *vapp, doc *node) ([]sourced, error) {
	var out []sourced
	for _, d := range childrenOf(doc, "SourcedItem") {
		vms, err := c.sourcesOf(child(d, "Source"))
		if err != nil {
			return nil, err
		}
		if err := c.acceptEULAs(vms, doc); err != nil {
			return nil, err
		}
		for _, from := range vms {
			it, err := c.readItem(a, d, from, len(vms) == 1)
			if err != nil {
				return nil, err
			}
			if len(vms) > 1 || value(d, "VAppScopedLocalId") == "" {
				it.vm.ownScopedID(out)
			}
			out = append(out, it)
		}
	}
	return out, c.admitSourced(a, out)
}

// ownScopedID gives a VM another local id where one before it has the same.
func (m *vm) ownScopedID(before []sourced) {
	if slices.ContainsFunc(before, func(it sourced) bool { return it.vm.scopedID == m.scopedID }) {
		m.scopedID = newID()
	}
}

// admitSourced refuses copies of VMs that there is no room for.
func (c *call) admitSourced(a *vapp, items []sourced) error {
	if err := distinct(a, items); err != nil {
		return err
	}
	vms, nics, all, byProfile := 0, 0, int64(0), map[string]int64{}
	for _, it := range items {
		if !it.from.seen.known || a.template != nil {
			continue
		}
		stays := it.move && it.from.vapp.vdc == a.vdc
		if !stays {
			vms, nics = vms+1, nics+len(it.from.nics)
		}
		for _, d := range it.from.seen.disks {
			mb := max(d.bytes, it.sizes[d.key]) >> 20
			if stays {
				mb -= d.bytes >> 20
			}
			all += mb
			byProfile[or(it.vm.diskProfiles[d.key], it.vm.profile)] += mb
		}
	}
	if err := c.s.checkStoredQuota(a, vms, all); err != nil {
		return err
	}
	if err := c.s.checkNICQuota(c.s.vdcs[a.vdc], nics); err != nil {
		return err
	}
	for _, id := range keys(byProfile) {
		if err := c.s.checkStorage(c.s.profiles[id], byProfile[id]); err != nil {
			return err
		}
	}
	return nil
}

// distinct refuses names and local ids that two VMs of a vApp would have.
func distinct(a *vapp, items []sourced) error {
	seen := map[string]bool{}
	for _, m := range a.vms {
		seen[m.name], seen["/"+m.scopedID] = true, true
	}
	for _, it := range items {
		if seen[it.vm.name] {
			return refuse(http.StatusBadRequest, "DUPLICATE_NAME", "The vApp %q has a VM named %q already.", a.name, it.vm.name)
		}
		if seen["/"+it.vm.scopedID] {
			return badRequest("The vApp %q has a VM with the local id %q already.", a.name, it.vm.scopedID)
		}
		seen[it.vm.name], seen["/"+it.vm.scopedID] = true, true
	}
	return nil
}

// sourcesOf are the VMs that a reference stands for.
func (c *call) sourcesOf(ref *node) ([]*vm, error) {
	href := attr(ref, "href")
	id := uuidIn(href)
	bad := badRequest("The source %s is not a VM, vApp or vApp template of this cloud.", href)
	if m := c.s.vms[id]; m != nil && !strings.Contains(href, "/vapp") {
		if c.level(m.vapp) == accessNone {
			return nil, bad
		}
		if err := c.usable(m.vapp); err != nil {
			return nil, err
		}
		return []*vm{m}, c.free(m)
	}
	a := c.s.vapps[id]
	if t := c.s.templates[id]; t != nil {
		a = t.content
	}
	if a == nil || c.level(a) == accessNone {
		return nil, bad
	}
	if err := c.usable(a); err != nil {
		return nil, err
	}
	for _, m := range a.vms {
		if err := c.free(m); err != nil {
			return nil, err
		}
	}
	return a.vms, nil
}

// usable refuses sources that are not whole.
func (c *call) usable(a *vapp) error {
	if a.status != stateResolved {
		return invalidState("The requested operation could not be executed on %q, whose creation has not succeeded or goes on.", a.name)
	}
	return nil
}

// free refuses sources that something else works on. Copies of a template that
// are being made do not keep others from making more.
func (c *call) free(m *vm) error {
	if m.vapp.template != nil {
		for _, t := range c.s.tasks {
			if !t.over() && (t.owner.id == m.vapp.id || t.owner.id == m.id) {
				return busy("com.vmware.vcloud.entity.vapptemplate", m.vapp.name)
			}
		}
		return nil
	}
	return c.mayChange(m.vapp, m, accessRead)
}

// acceptEULAs refuses a body that does not accept what its templates come with.
func (c *call) acceptEULAs(vms []*vm, doc *node) error {
	for _, m := range vms {
		if t := m.vapp.template; t != nil && len(t.eulas) > 0 && !truth(value(doc, "AllEULAsAccepted")) {
			return badRequest("The end-user license agreements of vApp template %q must be accepted.", m.vapp.name)
		}
	}
	return nil
}

// readItem reads a SourcedItem for one VM. Its name goes to no more than one.
func (c *call) readItem(a *vapp, d *node, from *vm, alone bool) (sourced, error) {
	it, err := c.copyOf(a, from)
	if err != nil {
		return it, err
	}
	m, general, params := it.vm, child(d, "VmGeneralParams"), child(d, "InstantiationParams")
	if alone {
		m.name = or(value(general, "Name"), attr(child(d, "Source"), "name"), m.name)
		m.scopedID = or(value(d, "VAppScopedLocalId"), m.scopedID)
		if err := checkName(m.name); err != nil {
			return it, err
		}
	}
	if n := child(general, "Description"); n != nil {
		m.desc = allText(n)
	}
	if v := value(general, "NeedsCustomization"); v != "" {
		m.customize = truth(v)
	}
	if it.move = truth(attr(d, "sourceDelete")); it.move {
		if err := c.mayMove(from); err != nil {
			return it, err
		}
	} else if len(c.s.disksOf(from)) > 0 {
		return it, badRequest("The VM %q cannot be copied: it has independent disks.", from.name)
	}
	if sp := child(d, "StorageProfile"); sp != nil {
		p := c.s.profiles[uuidIn(attr(sp, "href"))]
		if p == nil || p.vdc != a.vdc {
			return it, badRequest("The storage profile %s does not exist in VDC %s.", attr(sp, "href"), c.s.vdcs[a.vdc].name)
		}
		m.profile, m.diskProfiles = p.id, map[int32]string{}
	}
	if pol := child(d, "ComputePolicy"); pol != nil && len(childrenOf(pol, "VmSizingPolicy"))+len(childrenOf(pol, "VmPlacementPolicy")) > 0 {
		var p vmPlan
		if err := c.planPolicies(m, pol, &p); err != nil {
			return it, err
		}
		m.policy, m.placement = p.policies.sizing, p.policies.placement
	}
	for _, n := range childrenOf(d, "NetworkAssignment") {
		inner, outer := attr(n, "innerNetwork"), attr(n, "containerNetwork")
		if outer != noNetwork && a.netNamed(outer) == nil {
			return it, badRequest("The network %q does not exist in vApp %q.", outer, a.name)
		}
		it.assign[inner] = outer
	}
	if err := c.readVMParams(&it, params); err != nil {
		return it, err
	}
	return it, c.mayMoveRunning(&it)
}

// readVMParams reads the sections that a VM is made with.
func (c *call) readVMParams(it *sourced, params *node) error {
	it.nics, it.guest = child(params, "NetworkConnectionSection"), child(params, "GuestCustomizationSection")
	if name := value(it.guest, "ComputerName"); name != "" {
		if err := checkComputer(name); err != nil {
			return err
		}
	}
	if it.guest != nil {
		it.vm.setGuest(it.guest)
	}
	if ps := childrenOf(params, "ProductSection"); len(ps) > 0 {
		it.vm.products = copies(ps)
	}
	if err := it.readSection(child(params, "VirtualHardwareSection")); err != nil {
		return err
	}
	for _, n := range childrenOf(it.nics, "NetworkConnection") {
		name := attr(n, "network")
		if to := it.assign[name]; to != "" {
			name = to
		}
		if name != noNetwork && it.vm.vapp.netNamed(name) == nil {
			return badRequest("The network %q does not exist in vApp %q.", name, it.vm.vapp.name)
		}
	}
	return nil
}

// readSection reads CPUs, memory and the sizes of the source's disks from a
// VirtualHardwareSection.
func (it *sourced) readSection(d *node) error {
	for _, item := range childrenOf(d, "Item") {
		q, err := value(item, "VirtualQuantity"), error(nil)
		switch value(item, "ResourceType") {
		case "3":
			err = it.setCPUs(or(q, "0"), value(item, "CoresPerSocket"))
		case "4":
			err = it.setMemory(q)
		case "17":
			size := int64(atoi(q))
			mb := size >> 20
			if capacity := attr(child(item, "HostResource"), "capacity"); capacity != "" {
				mb = int64(atoi(capacity))
				size = mb << 20
			}
			err = it.setDisk(value(item, "InstanceID"), mb, size)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// setCPUs reads the CPUs that the VM is to have; what is "" stays as the
// source's.
func (it *sourced) setCPUs(cpus, cores string) error {
	if cpus == "" && cores == "" {
		return nil
	}
	was, wasPer := int64(it.from.cpus()), int64(it.from.cores())
	if it.from.facts == nil && it.from.seen.known {
		was = int64(it.from.seen.cpus)
	}
	n, per, err := readCPUs(it.vm.name, cpus, cores, was, wasPer)
	if err != nil {
		return err
	}
	if it.cpus = int32(n); cores != "" {
		it.cores = int32(per)
	}
	return nil
}

func (it *sourced) setMemory(s string) error {
	mb, err := readMemory(it.vm.name, s)
	it.memory = mb
	return err
}

// setDisk notes what a disk of the source is to grow to.
func (it *sourced) setDisk(id string, mb, bytes int64) error {
	key, err := strconv.ParseInt(id, 10, 32)
	if err != nil || bytes <= 0 || mb > maxDiskMB {
		return badRequest("The disk %q of VM %q has no such size.", id, it.from.name)
	}
	for _, d := range it.from.seen.disks {
		if d.key == int32(key) && bytes < d.bytes {
			return badRequest("The disk %q of VM %q cannot become smaller than it is.", id, it.from.name)
		}
	}
	it.sizes[int32(key)] = bytes
	return nil
}

func copies(list []*node) []*node {
	var out []*node
	for _, n := range list {
		out = append(out, n.Copy())
	}
	return out
}

// mayMove refuses to take a VM away from where it is.
func (c *call) mayMove(from *vm) error {
	if from.vapp.template != nil {
		return badRequest("The VM %q of vApp template %q cannot be moved out of it.", from.name, from.vapp.name)
	}
	return c.mayChange(from.vapp, from, accessChange)
}

// copyOf is a VM of a vApp like another one, not made yet.
func (c *call) copyOf(a *vapp, from *vm) (sourced, error) {
	v := c.s.vdcs[a.vdc]
	if from.vc != v.vc {
		return sourced{}, badRequest("The source VM %q is on another vCenter.", from.name)
	}
	m := &vm{
		thing: thing{id: newID(), name: from.name, desc: from.desc, seq: c.s.next()}, vapp: a, vc: from.vc, scopedID: from.scopedID,
		created: c.s.now(), creating: true, guest: from.guest, computer: from.computer, bootDelay: from.bootDelay, enterBIOS: from.enterBIOS,
		diskProfiles: map[int32]string{}, products: copies(from.products), meta: append(metadata(nil), from.meta...), toolsSync: from.toolsSync,
		customize: from.customize, noTools: from.noTools, cpuType: from.cpuType, inserted: maps.Clone(from.inserted),
	}
	if from.vapp.vdc == a.vdc {
		m.policy = from.policy
	}
	if a.template == nil && from.vapp.template != nil {
		m.customize = from.vapp.template.customize
		m.meta.madeFrom("vm", from.thing, "vm")
	}
	for _, other := range a.vms {
		if other.scopedID == m.scopedID {
			m.scopedID = newID()
		}
	}
	p := c.s.profileLike(v, from.profile)
	if p == nil {
		return sourced{}, badRequest("The VDC %s has no storage profile.", v.name)
	}
	m.profile = p.id
	for key, id := range from.diskProfiles {
		if p := c.s.profileLike(v, id); p != nil && p.id != m.profile {
			m.diskProfiles[key] = p.id
		}
	}
	return sourced{from: from, vm: m, assign: map[string]string{}, sizes: map[int32]int64{}}, nil
}

// profileLike is the profile itself where it is the VDC's, else the VDC's of
// that name, else its default.
func (s *Server) profileLike(v *vdc, id string) *profile {
	p := s.profiles[id]
	if p != nil && p.vdc == v.id {
		return p
	}
	if p != nil {
		if same := s.profileNamed(v, p.name); same != nil {
			return same
		}
	}
	return s.profileNamed(v, "")
}
