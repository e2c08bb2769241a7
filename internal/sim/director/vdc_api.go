package director

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

func vdcRoutes() []route {
	const at = " /api/admin/vdc/{id}"
	enable := func(on bool) handler {
		return func(c *call) (*answer, error) {
			v, err := c.theVDC()
			if err != nil {
				return nil, err
			}
			v.enabled = on
			return noContent(), nil
		}
	}
	return []route{
		{pattern: "POST /api/admin/org/{id}/vdcsparams", handle: (*call).createVDC, provider: true, takes: mediaAdmin + "createVdcParams"},
		{pattern: "PUT" + at, handle: (*call).putVDC, provider: true, takes: mediaAdmin + "vdc"},
		{pattern: "DELETE" + at, handle: (*call).deleteVDC, provider: true},
		{pattern: "POST" + at + "/action/enable", handle: enable(true), provider: true},
		{pattern: "POST" + at + "/action/disable", handle: enable(false), provider: true},
		{pattern: "POST" + at + "/vdcStorageProfiles", handle: (*call).updateVDCProfiles, provider: true, takes: mediaAdmin + "updateVdcStorageProfiles"},
		{pattern: "PUT /api/admin/vdcStorageProfile/{id}", handle: (*call).putProfile, provider: true, takes: mediaAdmin + "vdcStorageProfile"},
		{pattern: "GET /api/vdc/{id}/hwv/{name}", handle: (*call).getHardwareVersion},
		{pattern: "DELETE /api/vdc/{id}", handle: (*call).deleteVDC, provider: true},
		{pattern: "GET /api/vdc/{id}/controlAccess", handle: (*call).getVDCAccess},
		{pattern: "PUT /api/vdc/{id}/action/controlAccess", handle: (*call).setVDCAccess, takes: mediaVCloud + "controlAccess", lenient: true},
		{pattern: "POST /api/vdc/{id}/action/controlAccess", handle: (*call).setVDCAccess, takes: mediaVCloud + "controlAccess", lenient: true},
		{pattern: "GET /api/org/{org}/vdc/{id}/controlAccess", handle: (*call).getVDCAccess},
		{pattern: "POST /api/org/{org}/vdc/{id}/action/controlAccess", handle: (*call).setVDCAccess, takes: mediaVCloud + "controlAccess", lenient: true},
		{pattern: "GET /cloudapi/{version}/vdcs", handle: (*call).cloudVDCs},
		{pattern: "GET /cloudapi/{version}/vdcs/{urn}", handle: (*call).cloudVDC},
	}
}

var vdcGrammar = map[string]string{
	"ComputeCapacity": "VCloudExtension*=any Cpu=Capacity Memory=Capacity",
	"Capacity":        "VCloudExtension*=any Units=s Allocated?=l Limit=l Reserved?=l Used?=l Overhead?=l",
	"CreateVdcParams": "@name VCloudExtension*=any Description?=s AllocationModel=s ComputeCapacity=ComputeCapacity NicQuota?=i NetworkQuota?=i VmQuota?=i " +
		"IsEnabled?=b VdcStorageProfile+=VdcStorageProfileParams ResourceGuaranteedMemory?=f ResourceGuaranteedCpu?=f VCpuInMhz?=l IsThinProvision?=b " +
		"NetworkPoolReference?=Reference ProviderVdcReference=Reference ResourcePoolRefs?=any UsesFastProvisioning?=b OverCommitAllowed?=b " +
		"VmDiscoveryEnabled?=b IsElastic^=b IncludeMemoryOverhead^=b UniversalNetworkPoolReference^=any",
	"AdminVdc": "@name VCloudExtension*=any Link*=any Description?=s Tasks?=any AllocationModel?=s StorageCapacity?=any ComputeCapacity?=ComputeCapacity " +
		"ResourceEntities?=any AvailableNetworks?=any Capabilities?=any NicQuota?=i NetworkQuota?=i UsedNetworkCount?=i VmQuota?=i IsEnabled?=b " +
		"VdcStorageProfiles?=any DefaultComputePolicy^=any MaxComputePolicy^=any VCpuInMhz2?=l ResourceGuaranteedMemory?=f ResourceGuaranteedCpu?=f " +
		"VCpuInMhz?=l IsThinProvision?=b NetworkPoolReference?=any VendorServices?=any ProviderVdcReference?=any ResourcePoolRefs?=any " +
		"UsesFastProvisioning?=b OverCommitAllowed?=b VmDiscoveryEnabled?=b UniversalNetworkPoolReference?=any IsElastic^=b IncludeMemoryOverhead^=b",
	"VdcStorageProfileParams": "VCloudExtension*=any Enabled?=b Units=s Limit=l Default=b IopsSettings?=IopsSettings ProviderVdcStorageProfile=Reference " +
		"VdcStorageProfileSettings^=any",
	"IopsSettings": "Enabled=b DiskIopsMax=l DiskIopsDefault=l StorageProfileIopsLimit?=l DiskIopsPerGbMax?=l",
	"AdminVdcStorageProfile": "@name VCloudExtension*=any Link*=any Description?=s Tasks?=any Enabled?=b Units=s Limit=l Default=b IopsSettings?=IopsSettings " +
		"StorageUsedMB?=l IopsAllocated?=l ProviderVdcStorageProfile=Reference InheritPvdcDefaultSettings^=b",
	"UpdateVdcStorageProfiles": "VCloudExtension*=any Description?=s AddStorageProfile*=VdcStorageProfileParams RemoveStorageProfile*=Reference",
}

// A capacityLimit is what a VDC has of CPU (MHz) or memory (MB).
type capacityLimit struct{ allocated, limit int64 }

var allocationModels = []string{"AllocationVApp", "AllocationPool", "ReservationPool", "Flex"}

// readVDC takes over what CreateVdcParams or AdminVdc say.
func (v *vdc) read(doc *node) error {
	v.desc = raw(doc, "Description")
	if d := child(doc, "ComputeCapacity"); d != nil {
		for tag, to := range map[string]*capacityLimit{"Cpu": &v.cpu, "Memory": &v.memory} {
			part := child(d, tag)
			if u := value(part, "Units"); tag == "Cpu" && u != "MHz" || tag == "Memory" && u != "MB" {
				return badRequest("The unit %q of %s is not supported.", u, tag)
			}
			to.allocated, to.limit = long(value(part, "Allocated")), long(value(part, "Limit"))
			if to.allocated < 0 || to.limit < 0 || to.limit > 0 && to.allocated > to.limit {
				return badRequest("The allocation of %s is negative or above its limit.", tag)
			}
		}
	}
	for tag, to := range map[string]*int{"NicQuota": &v.nicQuota, "NetworkQuota": &v.networkQuota, "VmQuota": &v.vmQuota} {
		if s := value(doc, tag); s != "" {
			if *to = atoi(s); *to < 0 {
				return badRequest("The %s cannot be negative.", tag)
			}
		}
	}
	for tag, to := range map[string]*bool{"IsEnabled": &v.enabled, "IsThinProvision": &v.thin, "UsesFastProvisioning": &v.fast, "IsElastic": &v.elastic,
		"IncludeMemoryOverhead": &v.overhead, "OverCommitAllowed": &v.overCommit} {
		if s := value(doc, tag); s != "" {
			*to = truth(s)
		}
	}
	for tag, to := range map[string]*float64{"ResourceGuaranteedMemory": &v.memGuaranteed, "ResourceGuaranteedCpu": &v.cpuGuaranteed} {
		if s := value(doc, tag); s != "" {
			f, err := strconv.ParseFloat(s, 64)
			if err != nil || f < 0 || f > 1 {
				return badRequest("%s must be between 0.0 and 1.0, not %q.", tag, s)
			}
			*to = f
		}
	}
	v.vcpuMHz = or(long(or(value(doc, "VCpuInMhz2"), value(doc, "VCpuInMhz"))), v.vcpuMHz)
	if n := value(doc, "VmDiscoveryEnabled"); n != "" {
		v.discovery = yes(truth(n))
	}
	if n := child(doc, "NetworkPoolReference"); n != nil {
		v.networkPool = namedRef{uuidIn(attr(n, "href")), attr(n, "name")}
	}
	return nil
}

func long(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}

// createVDC makes a VDC, with its resource pool and folder in vCenter.
func (c *call) createVDC() (*answer, error) {
	o, err := c.theOrg()
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "CreateVdcParams")
	if err != nil {
		return nil, err
	}
	s := c.s
	p := s.pvdcs[uuidIn(attr(child(doc, "ProviderVdcReference"), "href"))]
	if p == nil {
		return nil, badRequest("The provider VDC %s does not exist.", attr(child(doc, "ProviderVdcReference"), "href"))
	}
	v := &vdc{thing: thing{id: newID(), name: strings.TrimSpace(attr(doc, "name")), seq: s.next()}, org: o.id, vc: p.vc, pvdc: p.id, model: value(doc, "AllocationModel"),
		status: vdcCreating, own: true, cpuGuaranteed: defaultGuarantee(value(doc, "AllocationModel")), memGuaranteed: 1}
	if err := v.read(doc); err != nil {
		return nil, err
	}
	if err := c.checkNewVDC(v, p); err != nil {
		return nil, err
	}
	profiles, err := c.readVDCProfiles(v, p, childrenOf(doc, "VdcStorageProfile"))
	if err != nil {
		return nil, err
	}
	s.vdcs[v.id] = v
	s.addDefaultPolicy(v)
	for _, prof := range profiles {
		s.profiles[prof.id] = prof
	}
	orgName, parent := marked(o.name, o.id), p.pools[0].ref
	c.start("createVdc", "Creating Virtual Datacenter", taskOwner{"vdc", v.id, v.name}, func(ctx context.Context) error {
		pool, folder, err := v.vc.makePlace(ctx, parent, orgName, marked(v.name, v.id))
		s.mu.Lock()
		defer s.mu.Unlock()
		v.pool, v.folder, v.status = pool, folder, vdcReady
		if err != nil {
			v.status = vdcFailed
		}
		return err
	})
	return &answer{status: http.StatusCreated, typ: mediaAdmin + "vdc", doc: c.vdcNode(v, true), header: map[string]string{"Location": s.href("/api/admin/vdc/" + v.id)}}, nil
}

// The states of a VDC's document.
const (
	vdcReady    = 0 // shown as 1: most are
	vdcCreating = 1
	vdcFailed   = -1
)

// statusNumber is the status attribute.
func (v *vdc) statusNumber() int {
	return map[int]int{vdcReady: 1, vdcCreating: 0, vdcFailed: -1}[v.status]
}

func defaultGuarantee(model string) float64 {
	if model == "ReservationPool" {
		return 1
	}
	return 0
}

func (c *call) checkNewVDC(v *vdc, p *pvdc) error {
	switch {
	case v.name == "" || len(v.name) > 256:
		return badRequest("The name %q of the VDC is empty or too long.", v.name)
	case !slices.Contains(allocationModels, v.model):
		return badRequest("The allocation model %q does not exist.", v.model)
	case !p.enabled:
		return badRequest("The provider VDC \"%s\" is disabled.", p.name)
	case len(p.pools) == 0:
		return badRequest("The provider VDC \"%s\" has no resource pool.", p.name)
	}
	for _, other := range c.s.vdcs {
		if other.org == v.org && strings.EqualFold(other.name, v.name) {
			return refuse(http.StatusBadRequest, "DUPLICATE_NAME", "There is a VDC named \"%s\" in the organization already.", v.name)
		}
	}
	return nil
}

// putVDC changes a VDC.
func (c *call) putVDC() (*answer, error) {
	v, err := c.theVDC()
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "AdminVdc")
	if err != nil {
		return nil, err
	}
	if c.s.busyWith(v.id) {
		return nil, busy("com.vmware.vcloud.entity.vdc", v.name)
	}
	n := *v
	if err := n.read(doc); err != nil {
		return nil, err
	}
	if m := value(doc, "AllocationModel"); m != "" && m != v.model && (m != "Flex" || !slices.Contains(allocationModels, m)) {
		return nil, badRequest("The allocation model of a VDC can only be changed to Flex.")
	} else if m != "" {
		n.model = m
	}
	if n.name = strings.TrimSpace(attr(doc, "name")); n.name == "" {
		return nil, badRequest("A VDC needs a name.")
	}
	for _, other := range c.s.vdcs {
		if other != v && other.org == v.org && strings.EqualFold(other.name, n.name) {
			return nil, refuse(http.StatusBadRequest, "DUPLICATE_NAME", "There is a VDC named \"%s\" in the organization already.", n.name)
		}
	}
	if d := child(doc, "DefaultComputePolicy"); d != nil {
		if p := c.s.policies[uuidIn(or(attr(d, "id"), attr(d, "href")))]; p == nil || !v.offers(p) {
			return nil, badRequest("The compute policy %s is not assigned to the VDC.", or(attr(d, "id"), attr(d, "href")))
		} else {
			n.defaultPolicy = p.id
		}
	}
	return c.accepted(c.start("updateVdc", "Updating Virtual Datacenter", taskOwner{"vdc", v.id, v.name}, func(context.Context) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		n.meta, n.access, n.everyone, n.policies, n.maxPolicy = v.meta, v.access, v.everyone, v.policies, v.maxPolicy
		*v = n
		return nil
	})), nil
}

// busyWith tells whether a task works on an entity.
func (s *Server) busyWith(id string) bool {
	for _, t := range s.tasks {
		if !t.over() && slices.Contains(t.busy, id) {
			return true
		}
	}
	return false
}

// getVDCAccess is who may use a VDC.
func (c *call) getVDCAccess() (*answer, error) {
	v, err := c.theVDC()
	if err != nil {
		return nil, err
	}
	if !c.orgAdmin(v.org) {
		return nil, noRight("Organization vDC: View ACL", v.id)
	}
	return ok(mediaVCloud+"controlAccess", c.vdcAccessNode(v)), nil
}

func (c *call) vdcAccessNode(v *vdc) *node {
	d := add(el("ControlAccessParams"), boolean("IsSharedToEveryone", v.everyone != ""), opt("EveryoneAccessLevel", v.everyone))
	if len(v.access) == 0 {
		return d
	}
	list := el("AccessSettings")
	for _, g := range v.access {
		add(list, add(el("AccessSetting"), c.s.subjectRef(g.user), text("AccessLevel", g.level)))
	}
	return add(d, list)
}

// setVDCAccess replaces who may use a VDC: ReadOnly is the only level.
func (c *call) setVDCAccess() (*answer, error) {
	v, err := c.theVDC()
	if err != nil {
		return nil, err
	}
	if !c.orgAdmin(v.org) {
		return nil, noRight("Organization vDC: Edit ACL", v.id)
	}
	doc, err := c.parse(nsVCloud, "ControlAccessParams")
	if err != nil {
		return nil, err
	}
	const level = "ReadOnly"
	everyone := ""
	if truth(value(doc, "IsSharedToEveryone")) {
		if everyone = value(doc, "EveryoneAccessLevel"); everyone != level {
			return nil, badRequest("The access level %q is not one of a VDC.", everyone)
		}
	}
	var grants []grant
	for _, set := range childrenOf(child(doc, "AccessSettings"), "AccessSetting") {
		subject := uuidIn(attr(child(set, "Subject"), "href"))
		if !c.s.subjectOf(v.org, subject) || value(set, "AccessLevel") != level {
			return nil, badRequest("The access setting for %s is not valid.", attr(child(set, "Subject"), "href"))
		}
		grants = append(grants, grant{subject, level})
	}
	v.everyone, v.access = everyone, grants
	return ok(mediaVCloud+"controlAccess", c.vdcAccessNode(v)), nil
}

func (c *call) vdcJSON(v *vdc) map[string]any {
	o := c.s.orgs[v.org]
	return map[string]any{"id": "urn:vcloud:vdc:" + v.id, "name": v.name, "description": v.desc, "allocationType": v.model, "isEnabled": v.enabled,
		"org": map[string]any{"id": "urn:vcloud:org:" + o.id, "name": o.name}}
}

func (c *call) cloudVDCs() (*answer, error) {
	var out []any
	for _, v := range sorted(c.s.vdcs) {
		if c.provider() || v.org == c.login.org.id {
			out = append(out, c.vdcJSON(v))
		}
	}
	return c.list(out)
}

func (c *call) cloudVDC() (*answer, error) {
	v, err := c.urnVDC()
	if err != nil {
		return nil, err
	}
	return asJSON(c.vdcJSON(v)), nil
}

// urnVDC is the VDC that a path names by its URN.
func (c *call) urnVDC() (*vdc, error) {
	v := c.s.vdcs[uuidIn(c.path("urn"))]
	if v == nil || !c.provider() && v.org != c.login.org.id {
		return nil, missing("vdc", c.path("urn"))
	}
	return v, nil
}
