package director

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/vmware/govmomi/vim25/types"
)

func pvdcRoutes() []route {
	const at = " /api/admin/extension/providervdc/{id}"
	enable := func(on bool) handler {
		return func(c *call) (*answer, error) {
			p, err := c.thePVDC()
			if err != nil {
				return nil, err
			}
			p.enabled = on
			return noContent(), nil
		}
	}
	profile := func(verb, path string, h handler) route {
		return route{pattern: verb + " /api/admin/" + path + "/{id}", handle: h, provider: true, json: true}
	}
	putProfile := profile("PUT", "pvdcStorageProfile", (*call).putPVDCProfile)
	putProfile.takes = mediaAdmin + "pvdcStorageProfile"
	putExtended := profile("PUT", "extension/pvdcStorageProfile", (*call).putPVDCProfile)
	putExtended.takes = mediaAdmin + "vmwPvdcStorageProfile"
	return []route{
		{pattern: "GET /api/admin/providervdc/{id}", handle: func(c *call) (*answer, error) { return c.getPVDC(false) }, provider: true, json: true},
		{pattern: "GET" + at, handle: func(c *call) (*answer, error) { return c.getPVDC(true) }, provider: true, json: true},
		{pattern: "GET /api/admin/extension/providerVdcReferences", handle: (*call).pvdcReferences, provider: true},
		{pattern: "POST /api/admin/extension/providervdcsparams", handle: (*call).createPVDC, provider: true, json: true, takes: mediaAdmin + "createProviderVdcParams"},
		{pattern: "PUT" + at, handle: (*call).putPVDC, provider: true, json: true, takes: mediaAdmin + "vmwprovidervdc"},
		{pattern: "DELETE" + at, handle: (*call).deletePVDC, provider: true},
		{pattern: "POST" + at + "/action/enable", handle: enable(true), provider: true},
		{pattern: "POST" + at + "/action/disable", handle: enable(false), provider: true},
		{pattern: "GET" + at + "/resourcePools", handle: (*call).pvdcPools, provider: true, json: true},
		{pattern: "POST" + at + "/action/updateResourcePools", handle: (*call).updatePVDCPools, provider: true, json: true, takes: mediaAdmin + "resourcePoolSetUpdateParams"},
		{pattern: "POST" + at + "/storageProfiles", handle: (*call).updatePVDCProfiles, provider: true, json: true, takes: mediaAdmin + "updateProviderVdcStorageProfiles"},
		{pattern: "POST /api/admin/extension/resourcePool/{id}/action/{action}", handle: (*call).switchPool, provider: true},
		profile("GET", "pvdcStorageProfile", (*call).getPVDCProfile), profile("GET", "extension/pvdcStorageProfile", (*call).getPVDCProfile),
		putProfile, putExtended,
	}
}

var pvdcGrammar = map[string]string{
	"VimObjectRef":  "x:VimServerRef=Reference x:MoRef=s x:VimObjectType=s",
	"VimObjectRefs": "x:VimObjectRef*=VimObjectRef",
	"VMWProviderVdcParams": "@name VCloudExtension*=any w:Description?=s x:ResourcePoolRefs=VimObjectRefs x:VimServer*=Reference x:VxlanNetworkPool?=Reference " +
		"x:HighestSupportedHardwareVersion?=s x:IsEnabled?=b x:StorageProfile+=s x:HostRefs?=any x:DefaultPassword?=s x:DefaultUsername?=s " +
		"x:NsxTManagerReference^=Reference x:NetworkPool^=Reference x:AutoCreateNetworkPool^=b",
	"VMWProviderVdc": "@name VCloudExtension*=any Link*=any Description?=s Tasks?=any ComputeCapacity?=any StorageCapacity?=any AvailableNetworks?=any " +
		"StorageProfiles?=any Capabilities?=any Vdcs?=any IsEnabled?=b NetworkPoolReferences?=any x:DataStoreRefs?=any x:ResourcePoolRefs?=any " +
		"x:VimServer*=any x:HostReferences?=any x:HighestSupportedHardwareVersion?=s x:NsxTManagerReference^=any x:ComputeProviderScope^=s",
	"UpdateResourcePoolSetParams":      "VCloudExtension*=any Description?=s x:AddItem*=VimObjectRef x:DeleteItem*=Reference",
	"UpdateProviderVdcStorageProfiles": "VCloudExtension*=any Description?=s x:AddStorageProfile*=s x:RemoveStorageProfile*=Reference",
	"ProviderVdcStorageProfile":        "VCloudExtension*=any Link*=any Description?=s Tasks?=any Enabled?=b Units?=s CapacityTotal?=s CapacityUsed?=s IopsCapacity?=l IopsAllocated?=l",
	"VMWProviderVdcStorageProfile":     "VCloudExtension*=any Link*=any Description?=s Tasks?=any Enabled?=b Units?=s CapacityTotal?=s CapacityUsed?=s IopsCapacity?=l IopsAllocated?=l x:VimStorageProfile?=any",
}

// read reads a body in either language.
func (c *call) readDoc(ns, name string) (*node, error) {
	if c.sentJSON() {
		return c.fromJSON(ns, name)
	}
	return c.parse(ns, name)
}

func (c *call) pvdcReferences() (*answer, error) {
	typ := mediaAdmin + "vmwProviderVdcReferences"
	d := el("vmext:VMWProviderVdcReferences", "href", c.s.href(c.r.URL.Path), "type", typ+"+xml")
	for _, p := range sorted(c.s.pvdcs) {
		add(d, c.s.ref("vmext:ProviderVdcReference", "/api/admin/extension/providervdc/", p.id, p.name, mediaAdmin+"vmwprovidervdc+xml"))
	}
	return ok(typ, d), nil
}

// createPVDC makes a provider VDC on resource pools that no other one has.
func (c *call) createPVDC() (*answer, error) {
	doc, err := c.readDoc(nsExt, "VMWProviderVdcParams")
	if err != nil {
		return nil, err
	}
	s := c.s
	p := &pvdc{thing: thing{id: newID(), name: attr(doc, "name"), desc: raw(doc, "Description"), seq: s.next()}, enabled: value(doc, "IsEnabled") != "false",
		hardware: or(value(doc, "HighestSupportedHardwareVersion"), hardwareVersions[len(hardwareVersions)-1])}
	if p.name == "" {
		return nil, badRequest("A provider VDC needs a name.")
	}
	if s.pvdcNamed(p.name) != nil {
		return nil, refuse(http.StatusBadRequest, "DUPLICATE_NAME", "There is a provider VDC named \"%s\" already.", p.name)
	}
	if !slices.Contains(hardwareVersions, p.hardware) {
		return nil, badRequest("The hardware version %q is not supported.", p.hardware)
	}
	e, err := c.readPools(p, childrenOf(child(doc, "ResourcePoolRefs"), "VimObjectRef"))
	if err != nil {
		return nil, err
	}
	if len(p.pools) == 0 {
		return nil, badRequest("A provider VDC needs a resource pool.")
	}
	if n := child(doc, "NsxTManagerReference"); n != nil {
		p.nsxt = namedRef{uuidIn(or(attr(n, "href"), attr(n, "id"))), attr(n, "name")}
	}
	if n := child(doc, "NetworkPool"); n != nil {
		p.networks = []namedRef{{uuidIn(or(attr(n, "href"), attr(n, "id"))), attr(n, "name")}}
	}
	for _, sp := range childrenOf(doc, "StorageProfile") {
		if err := s.addPVDCProfile(p, allText(sp)); err != nil {
			s.dropPVDC(p)
			return nil, err
		}
	}
	s.pvdcs[p.id] = p
	c.start("createProviderVdc", "Creating Provider VDC", taskOwner{"providervdc", p.id, p.name}, func(context.Context) error { return nil })
	a := c.pvdcAnswer(p, e, true)
	a.status, a.header = http.StatusCreated, map[string]string{"Location": s.href("/api/admin/extension/providervdc/" + p.id)}
	return a, nil
}

// readPools adds resource pools to a provider VDC, which must be free.
func (c *call) readPools(p *pvdc, refs []*node) (*estate, error) {
	var e *estate
	for _, r := range refs {
		vc := c.s.vcenters[uuidIn(or(attr(child(r, "VimServerRef"), "href"), attr(child(r, "VimServerRef"), "id")))]
		if vc == nil || p.vc != nil && p.vc != vc {
			return nil, badRequest("The vCenter of the resource pool %s does not exist, or is another one.", value(r, "MoRef"))
		}
		p.vc = vc
		var err error
		if e, err = c.estate(vc); err != nil {
			return nil, err
		}
		rp := e.pool(value(r, "MoRef"))
		if rp == nil {
			return nil, badRequest("The resource pool %s does not exist in vCenter \"%s\".", value(r, "MoRef"), vc.name)
		}
		if owner := c.s.poolOwner(vc, rp.Self); owner != nil {
			return nil, badRequest("The resource pool \"%s\" backs the provider VDC \"%s\" already.", rp.Name, owner.name)
		}
		p.pools = append(p.pools, pvdcPool{rp.Self, rp.Name, true})
	}
	return e, nil
}

func (s *Server) poolOwner(vc *vcenter, ref types.ManagedObjectReference) *pvdc {
	for _, p := range s.pvdcs {
		if p.vc == vc && slices.ContainsFunc(p.pools, func(rp pvdcPool) bool { return rp.ref == ref }) {
			return p
		}
	}
	return nil
}

// addPVDCProfile adds one of the storage policies that the vCenter has: those
// that some provider VDC on it uses, and "*" for any datastore.
func (s *Server) addPVDCProfile(p *pvdc, name string) error {
	for _, prof := range sorted(s.pvdcProfiles) {
		if owner := s.pvdcs[prof.pvdc]; owner != nil && owner.vc == p.vc && prof.name == name {
			if owner == p {
				return badRequest("The provider VDC \"%s\" has the storage profile \"%s\" already.", p.name, name)
			}
			s.pvdcProfileNamed(p, name, prof.datastores, "")
			return nil
		}
	}
	if name != "*" {
		return badRequest("The storage profile \"%s\" does not exist in vCenter \"%s\".", name, p.vc.name)
	}
	s.pvdcProfileNamed(p, name, nil, "")
	return nil
}

// putPVDC changes name, description and state.
func (c *call) putPVDC() (*answer, error) {
	p, err := c.thePVDC()
	if err != nil {
		return nil, err
	}
	doc, err := c.readDoc(nsExt, "VMWProviderVdc")
	if err != nil {
		return nil, err
	}
	name := attr(doc, "name")
	if other := c.s.pvdcNamed(name); name == "" || other != nil && other != p {
		return nil, refuse(http.StatusBadRequest, "DUPLICATE_NAME", "The name \"%s\" is taken or empty.", name)
	}
	p.name, p.desc = name, raw(doc, "Description")
	if v := value(doc, "IsEnabled"); v != "" {
		p.enabled = truth(v)
	}
	p.hardware = or(value(doc, "HighestSupportedHardwareVersion"), p.hardware)
	return c.getPVDC(true)
}

func (c *call) deletePVDC() (*answer, error) {
	p, err := c.thePVDC()
	if err != nil {
		return nil, err
	}
	if p.enabled {
		return nil, invalidState("The provider VDC \"%s\" is enabled. Disable it and try again.", p.name)
	}
	if vdcs := c.s.vdcsOf(p); len(vdcs) > 0 {
		return nil, badRequest("The provider VDC \"%s\" cannot be deleted: it backs %d organization VDCs.", p.name, len(vdcs))
	}
	return c.accepted(c.start("deleteProviderVdc", "Deleting Provider VDC", taskOwner{"providervdc", p.id, p.name}, func(context.Context) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		c.s.dropPVDC(p)
		return nil
	})), nil
}

// poolID is what vCD knows a resource pool by.
func poolID(vc *vcenter, moref string) string { return uuidOf(vc.id, "resource pool", moref) }

func (c *call) pvdcPools() (*answer, error) {
	p, err := c.thePVDC()
	if err != nil {
		return nil, err
	}
	typ := mediaAdmin + "vmwProviderVdcResourcePoolSet"
	d := el("vmext:VMWProviderVdcResourcePoolSet", "href", c.s.href(c.r.URL.Path), "type", typ+"+xml")
	for i, rp := range p.pools {
		id := poolID(p.vc, rp.ref.Value)
		n := el("vmext:VMWProviderVdcResourcePool", "primary", yes(i == 0), "href", c.s.href("/api/admin/extension/resourcePool/"+id),
			"type", mediaAdmin+"vmwProviderVdcResourcePool+xml")
		if rp.enabled {
			add(n, link("disable", c.s.href("/api/admin/extension/resourcePool/"+id+"/action/disable"), ""))
		} else {
			add(n, link("enable", c.s.href("/api/admin/extension/resourcePool/"+id+"/action/enable"), ""))
		}
		add(d, add(n, c.s.vimObject("vmext:ResourcePoolVimObjectRef", p.vc, rp.ref.Value, "RESOURCE_POOL"),
			c.s.ref("vmext:ResourcePoolRef", "/api/admin/extension/resourcePool/", id, rp.name, mediaAdmin+"vmwProviderVdcResourcePool+xml"),
			boolean("vmext:Enabled", rp.enabled)))
	}
	return ok(typ, d), nil
}

// findPool finds the pool of that id in a provider VDC.
func (s *Server) findPool(id string) (*pvdc, int) {
	for _, p := range sorted(s.pvdcs) {
		for i, rp := range p.pools {
			if poolID(p.vc, rp.ref.Value) == id {
				return p, i
			}
		}
	}
	return nil, -1
}

func (c *call) switchPool() (*answer, error) {
	p, i := c.s.findPool(uuidIn(c.path("id")))
	if p == nil {
		return nil, missing("resourcePool", c.path("id"))
	}
	switch c.path("action") {
	case "enable":
		p.pools[i].enabled = true
	case "disable":
		if i == 0 {
			return nil, badRequest("The primary resource pool of the provider VDC \"%s\" cannot be disabled.", p.name)
		}
		p.pools[i].enabled = false
	default:
		return nil, notFound("There is no action %s.", c.path("action"))
	}
	return noContent(), nil
}

// updatePVDCPools adds resource pools, and removes those that are disabled.
func (c *call) updatePVDCPools() (*answer, error) {
	p, err := c.thePVDC()
	if err != nil {
		return nil, err
	}
	doc, err := c.readDoc(nsExt, "UpdateResourcePoolSetParams")
	if err != nil {
		return nil, err
	}
	var remove []types.ManagedObjectReference
	for _, d := range childrenOf(doc, "DeleteItem") {
		owner, i := c.s.findPool(uuidIn(attr(d, "href")))
		switch {
		case owner != p:
			return nil, badRequest("The resource pool %s does not back the provider VDC \"%s\".", attr(d, "href"), p.name)
		case i == 0:
			return nil, badRequest("The primary resource pool of the provider VDC \"%s\" cannot be removed.", p.name)
		case p.pools[i].enabled:
			return nil, badRequest("The resource pool \"%s\" is enabled. Disable it and try again.", p.pools[i].name)
		}
		remove = append(remove, p.pools[i].ref)
	}
	more := &pvdc{vc: p.vc}
	if _, err := c.readPools(more, childrenOf(doc, "AddItem")); err != nil {
		return nil, err
	}
	return c.accepted(c.start("updateProviderVdcResourcePools", "Updating resource pools of Provider VDC", taskOwner{"providervdc", p.id, p.name}, func(context.Context) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		p.pools = slices.DeleteFunc(p.pools, func(rp pvdcPool) bool { return slices.Contains(remove, rp.ref) })
		p.pools = append(p.pools, more.pools...)
		return nil
	})), nil
}

// updatePVDCProfiles adds storage profiles, and removes those that are disabled
// and unused.
func (c *call) updatePVDCProfiles() (*answer, error) {
	p, err := c.thePVDC()
	if err != nil {
		return nil, err
	}
	doc, err := c.readDoc(nsExt, "UpdateProviderVdcStorageProfiles")
	if err != nil {
		return nil, err
	}
	for _, d := range childrenOf(doc, "AddStorageProfile") {
		if err := c.s.addPVDCProfile(p, strings.TrimSpace(allText(d))); err != nil {
			return nil, err
		}
	}
	var remove []*pvdcProfile
	for _, d := range childrenOf(doc, "RemoveStorageProfile") {
		prof := c.s.pvdcProfiles[uuidIn(attr(d, "href"))]
		switch {
		case prof == nil || prof.pvdc != p.id:
			return nil, badRequest("The storage profile %s is not one of the provider VDC \"%s\".", attr(d, "href"), p.name)
		case prof.enabled:
			return nil, badRequest("The storage profile \"%s\" is enabled. Disable it and try again.", prof.name)
		}
		for _, used := range c.s.profiles {
			if used.pvdcProfile == prof.id {
				return nil, badRequest("The storage profile \"%s\" is in use by an organization VDC.", prof.name)
			}
		}
		remove = append(remove, prof)
	}
	return c.accepted(c.start("updateProviderVdcStorageProfiles", "Updating storage profiles of Provider VDC", taskOwner{"providervdc", p.id, p.name},
		func(context.Context) error {
			c.s.mu.Lock()
			defer c.s.mu.Unlock()
			for _, prof := range remove {
				delete(c.s.pvdcProfiles, prof.id)
			}
			return nil
		})), nil
}

// putPVDCProfile enables or disables a storage profile of a provider VDC.
func (c *call) putPVDCProfile() (*answer, error) {
	prof := c.s.pvdcProfiles[uuidIn(c.path("id"))]
	if prof == nil {
		return nil, missing("providerVdcStorageProfile", c.path("id"))
	}
	ns, name := nsVCloud, "ProviderVdcStorageProfile"
	if strings.Contains(c.r.URL.Path, "/extension/") {
		ns, name = nsExt, "VMWProviderVdcStorageProfile"
	}
	doc, err := c.readDoc(ns, name)
	if err != nil {
		return nil, err
	}
	if v := value(doc, "Enabled"); v != "" {
		prof.enabled = truth(v)
	}
	if v := value(doc, "IopsCapacity"); v != "" {
		prof.iops = int64(atoi(v))
	}
	return c.getPVDCProfile()
}
