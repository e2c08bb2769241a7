package director

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

func estateRoutes() []route {
	const vc = "GET /cloudapi/{version}/virtualCenters"
	const vim = "GET /api/admin/extension/vimServer/{id}/"
	return []route{
		{pattern: vc, handle: (*call).cloudVCenters, provider: true},
		{pattern: vc + "/{urn}", handle: (*call).cloudVCenter, provider: true},
		{pattern: vc + "/{urn}/storageProfiles", handle: (*call).cloudStoragePolicies, provider: true},
		{pattern: vc + "/{urn}/resourcePools/{which}", handle: (*call).cloudPools, provider: true},
		{pattern: vc + "/{urn}/resourcePools/{moref}/hwv", handle: (*call).cloudPoolHardware, provider: true},
		{pattern: "GET /cloudapi/{version}/logicalVmGroups", handle: (*call).listLogicalGroups, provider: true},
		{pattern: "POST /cloudapi/{version}/logicalVmGroups", handle: (*call).createLogicalGroup, provider: true, takes: "application/json"},
		{pattern: "GET /cloudapi/{version}/logicalVmGroups/{urn}", handle: (*call).getLogicalGroup, provider: true},
		{pattern: "DELETE /cloudapi/{version}/logicalVmGroups/{urn}", handle: (*call).deleteLogicalGroup, provider: true},
		{pattern: vim + "hostReferences", handle: (*call).vimHosts, provider: true},
		{pattern: vim + "resourcePoolList", handle: (*call).vimPools, provider: true},
		{pattern: vim + "storageProfiles", handle: (*call).vimProfiles, provider: true},
		{pattern: "GET /api/admin/extension/hostReferences", handle: (*call).vimHosts, provider: true},
		{pattern: "GET /api/admin/extension/host/{id}", handle: (*call).getHost, provider: true},
		{pattern: "GET /api/admin/extension/datastores", handle: (*call).datastoreRefs, provider: true},
		{pattern: "GET /api/admin/extension/datastore/{id}", handle: (*call).getDatastore, provider: true},
	}
}

func (vc *vcenter) urn() string { return "urn:vcloud:vimserver:" + vc.id }

func (vc *vcenter) json() map[string]any {
	return map[string]any{"vcId": vc.urn(), "name": vc.name, "description": nil, "username": vc.cfg.User, "password": nil, "url": strings.TrimSuffix(vc.cfg.URL, "/sdk"),
		"isEnabled": true, "vsphereWebClientServerUrl": nil, "hasProxy": false, "rootFolder": nil, "vcNoneNetwork": nil, "tenantVisibleName": vc.name,
		"isConnected": true, "mode": "IAAS", "listenerState": "CONNECTED", "clusterHealthStatus": "GREEN", "vcVersion": vc.version(), "buildNumber": nil,
		"uuid": vc.uuid(), "nsxVManager": nil, "proxyConfigurationUrn": nil}
}

func (c *call) cloudVCenters() (*answer, error) {
	var out []any
	for _, vc := range sorted(c.s.vcenters) {
		out = append(out, vc.json())
	}
	return c.list(out)
}

// urnVCenter is the vCenter that a path names by its URN.
func (c *call) urnVCenter() (*vcenter, error) {
	vc := c.s.vcenters[uuidIn(c.path("urn"))]
	if vc == nil {
		return nil, missing("vimServer", c.path("urn"))
	}
	return vc, nil
}

func (c *call) cloudVCenter() (*answer, error) {
	vc, err := c.urnVCenter()
	if err != nil {
		return nil, err
	}
	return asJSON(vc.json()), nil
}

// cloudPools is resourcePools/browse, browseAll, and the children of a pool.
func (c *call) cloudPools() (*answer, error) {
	vc, err := c.urnVCenter()
	if err != nil {
		return nil, err
	}
	e, err := c.estate(vc)
	if err != nil {
		return nil, err
	}
	which := c.path("which")
	var out []any
	for _, p := range e.pools {
		top := p.Parent == nil || p.Parent.Type != "ResourcePool"
		if which == "browse" && !top || which != "browse" && which != "browseAll" && (p.Parent == nil || p.Parent.Value != which) {
			continue
		}
		out = append(out, map[string]any{"moref": p.Self.Value, "clusterMoref": p.Owner.Value, "name": p.Name, "vcId": vc.urn(),
			"eligible": c.s.poolOwner(vc, p.Self) == nil, "kubernetesEnabled": false, "vgpuEnabled": false})
	}
	return c.list(out)
}

func (c *call) cloudPoolHardware() (*answer, error) {
	vc, err := c.urnVCenter()
	if err != nil {
		return nil, err
	}
	e, err := c.estate(vc)
	if err != nil {
		return nil, err
	}
	if e.pool(c.path("moref")) == nil {
		return nil, missing("resourcePool", c.path("moref"))
	}
	var all []any
	for i, h := range hardwareVersions {
		all = append(all, map[string]any{"isDefault": i == len(hardwareVersions)-1, "name": h})
	}
	return asJSON(map[string]any{"versions": hardwareVersions, "supportedVersions": all}), nil
}

// storagePolicies are the names of the storage policies of a vCenter: those
// that provider VDCs have.
func (s *Server) storagePolicies(vc *vcenter) map[string][]string {
	out := map[string][]string{}
	for _, p := range s.pvdcProfiles {
		if pv := s.pvdcs[p.pvdc]; pv != nil && pv.vc == vc {
			out[p.name] = p.datastores
		}
	}
	return out
}

func (c *call) cloudStoragePolicies() (*answer, error) {
	vc, err := c.urnVCenter()
	if err != nil {
		return nil, err
	}
	var out []any
	for _, name := range keys(c.s.storagePolicies(vc)) {
		out = append(out, map[string]any{"moref": policyID(vc, name), "name": name})
	}
	// The filter says in which resource pool: all of them have all policies.
	raw := c.r.URL.RawQuery
	if strings.Contains(c.query("filter"), "_context") {
		c.r.URL.RawQuery = withoutFilter(raw)
	}
	a, err := c.list(out)
	c.r.URL.RawQuery = raw
	return a, err
}

// onVCenters does something with what there is in each vCenter, or in that of
// the path.
func (c *call) onVCenters(do func(*vcenter, *estate)) error {
	all := sorted(c.s.vcenters)
	if strings.Contains(c.r.URL.Path, "/vimServer/") {
		vc, err := c.theVimServer()
		if err != nil {
			return err
		}
		all = []*vcenter{vc}
	}
	for _, vc := range all {
		e, err := c.estate(vc)
		if err != nil {
			return err
		}
		do(vc, e)
	}
	return nil
}

func hostID(vc *vcenter, h mo.HostSystem) string { return uuidOf(vc.id, h.Self.Value) }

func (c *call) vimHosts() (*answer, error) {
	typ := mediaAdmin + "vmwHostReferences"
	d := el("vmext:VMWHostReferences", "href", c.s.href(c.r.URL.Path), "type", typ+"+xml")
	err := c.onVCenters(func(vc *vcenter, e *estate) {
		for _, h := range e.hosts {
			add(d, c.s.ref("vmext:HostReference", "/api/admin/extension/host/", hostID(vc, h), h.Name, mediaAdmin+"host+xml"))
		}
	})
	return ok(typ, d), err
}

func (c *call) getHost() (*answer, error) {
	var d *node
	err := c.onVCenters(func(vc *vcenter, e *estate) {
		for _, h := range e.hosts {
			if hostID(vc, h) == uuidIn(c.path("id")) {
				d = c.hostNode(vc, h)
			}
		}
	})
	if err == nil && d == nil {
		err = missing("host", c.path("id"))
	}
	return ok(mediaAdmin+"host", d), err
}

func (c *call) hostNode(vc *vcenter, h mo.HostSystem) *node {
	id := hostID(vc, h)
	d := el("vmext:Host", "name", h.Name, "id", "urn:vcloud:host:"+id, "href", c.s.href("/api/admin/extension/host/"+id), "type", mediaAdmin+"host+xml")
	var hw types.HostHardwareSummary
	if h.Summary.Hardware != nil {
		hw = *h.Summary.Hardware
	}
	version := ""
	if p := h.Summary.Config.Product; p != nil {
		version = p.Version
	}
	return add(d, link("up", c.s.href("/api/admin/extension/vimServer/"+vc.id), mediaAdmin+"vmwvirtualcenter+xml"), text("Description", ""),
		boolean("vmext:Ready", true), boolean("vmext:Available", true), boolean("vmext:Enabled", !h.Runtime.InMaintenanceMode), boolean("vmext:Busy", false),
		boolean("vmext:EnableHostForHostSpanning", false), text("vmext:CpuType", hw.CpuModel), number("vmext:NumOfCpusPackages", int32(hw.NumCpuPkgs)),
		number("vmext:NumOfCpusLogical", int32(hw.NumCpuThreads)), number("vmext:CpuTotal", int64(hw.CpuMhz)*int64(hw.NumCpuCores)),
		number("vmext:MemUsed", int64(h.Summary.QuickStats.OverallMemoryUsage)), number("vmext:MemTotal", hw.MemorySize>>20),
		text("vmext:HostOsName", "vmnix-x86"), text("vmext:HostOsVersion", version), text("vmext:VmMoRef", h.Self.Value))
}

func (c *call) vimPools() (*answer, error) {
	typ := mediaAdmin + "resourcePoolList"
	d := el("vmext:ResourcePoolList", "href", c.s.href(c.r.URL.Path), "type", typ+"+xml")
	err := c.onVCenters(func(vc *vcenter, e *estate) {
		for _, p := range e.pools {
			var stores []string
			for _, ds := range e.stores {
				stores = append(stores, ds.Self.Value)
			}
			add(d, add(el("vmext:ResourcePool", "name", p.Name), text("vmext:MoRef", p.Self.Value), text("vmext:VimObjectType", "RESOURCE_POOL"),
				c.s.vimRefs("vmext:DataStoreRefs", vc, "DATASTORE", stores)))
		}
	})
	return ok(typ, d), err
}

func (c *call) vimProfiles() (*answer, error) {
	typ := mediaAdmin + "vmwStorageProfiles"
	d := el("vmext:VMWStorageProfiles", "href", c.s.href(c.r.URL.Path), "type", typ+"+xml")
	err := c.onVCenters(func(vc *vcenter, e *estate) {
		policies := c.s.storagePolicies(vc)
		for _, name := range keys(policies) {
			stores := e.on(policies[name])
			total, free := storeSum(stores)
			var morefs []string
			for _, ds := range stores {
				morefs = append(morefs, ds.Self.Value)
			}
			add(d, add(el("vmext:VMWStorageProfile", "name", name), text("vmext:MoRef", policyID(vc, name)), text("vmext:VimObjectType", "STORAGE_PROFILE"),
				number("vmext:FreeStorageMb", free>>20), number("vmext:TotalStorageMb", total>>20), c.s.vimRefs("vmext:DataStoreRefs", vc, "DATASTORE", morefs)))
		}
	})
	return ok(typ, d), err
}

func (c *call) datastoreRefs() (*answer, error) {
	typ := mediaAdmin + "vmwDatastoreReferences"
	d := el("vmext:DatastoreReferences", "href", c.s.href(c.r.URL.Path), "type", typ+"+xml")
	err := c.onVCenters(func(vc *vcenter, e *estate) {
		for _, ds := range e.stores {
			add(d, c.s.ref("Reference", "/api/admin/extension/datastore/", datastoreID(vc, ds.Self.Value), ds.Name, mediaAdmin+"datastore+xml"))
		}
	})
	return ok(typ, d), err
}

func (c *call) getDatastore() (*answer, error) {
	var d *node
	err := c.onVCenters(func(vc *vcenter, e *estate) {
		for _, ds := range e.stores {
			if datastoreID(vc, ds.Self.Value) == uuidIn(c.path("id")) {
				d = c.datastoreNode(vc, ds)
			}
		}
	})
	if err == nil && d == nil {
		err = missing("datastore", c.path("id"))
	}
	return ok(mediaAdmin+"datastore", d), err
}

func (c *call) datastoreNode(vc *vcenter, ds mo.Datastore) *node {
	id, total := datastoreID(vc, ds.Self.Value), ds.Summary.Capacity
	used := total - ds.Summary.FreeSpace
	d := el("vmext:Datastore", "name", ds.Name, "id", "urn:vcloud:datastore:"+id, "href", c.s.href("/api/admin/extension/datastore/"+id), "type", mediaAdmin+"datastore+xml")
	return add(d, link("up", c.s.href("/api/admin/extension/vimServer/"+vc.id), mediaAdmin+"vmwvirtualcenter+xml"), text("Description", ""),
		c.s.vimObject("vmext:VimObjectRef", vc, ds.Self.Value, "DATASTORE"), boolean("vmext:Enabled", true), boolean("vmext:Busy", false),
		boolean("vmext:VAAIForFpEnabled", false), number("vmext:ThresholdYellowGb", total>>30/4), number("vmext:ThresholdRedGb", total>>30/20),
		text("vmext:DatastoreFsType", storeType(ds)), text("vmext:VcDisplayName", vc.name), number("vmext:TotalCapacityMb", total>>20),
		number("vmext:TotalCapacityGb", total>>30), number("vmext:UsedCapacityMb", used>>20), number("vmext:UsedCapacityGb", used>>30),
		number("vmext:UsedCapacityPercent", used*100/max(total, 1)), number("vmext:ProvisionedSpaceMb", used>>20), number("vmext:ProvisionedSpaceGb", used>>30),
		number("vmext:RequestedStorageMb", 0), number("vmext:RequestedStorageGb", 0))
}

// A logicalGroup joins VM groups of the clusters behind a provider VDC.
type logicalGroup struct {
	thing
	body string // as it was written, as JSON
}

func (g *logicalGroup) json() map[string]any {
	out := map[string]any{}
	_ = json.Unmarshal([]byte(g.body), &out) // it was read before
	out["id"], out["name"] = "urn:vcloud:logicalVmGroup:"+g.id, g.name
	return out
}

func (c *call) listLogicalGroups() (*answer, error) {
	var out []any
	for _, g := range sorted(c.s.logicalGroups) {
		out = append(out, g.json())
	}
	return c.list(out)
}

func (c *call) theLogicalGroup() (*logicalGroup, error) {
	g := c.s.logicalGroups[uuidIn(c.path("urn"))]
	if g == nil {
		return nil, missing("logicalVmGroup", c.path("urn"))
	}
	return g, nil
}

func (c *call) getLogicalGroup() (*answer, error) {
	g, err := c.theLogicalGroup()
	if err != nil {
		return nil, err
	}
	return asJSON(g.json()), nil
}

func (c *call) createLogicalGroup() (*answer, error) {
	var body struct {
		Name   string `json:"name"`
		PVDC   string `json:"pvdcId"`
		Groups []struct {
			ID string `json:"id"`
		} `json:"namedVmGroupReferences"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	p := c.s.pvdcs[uuidIn(body.PVDC)]
	if body.Name == "" || p == nil {
		return nil, badRequest("A logical VM group needs a name and a provider VDC.")
	}
	c.s.mu.Unlock()
	groups, err := p.vc.vmGroups(c.r.Context())
	c.s.mu.Lock()
	if err != nil {
		return nil, err
	}
	for _, g := range body.Groups {
		if !slices.ContainsFunc(groups, func(v vmGroup) bool { return v.namedID(p.vc) == uuidIn(g.ID) }) {
			return nil, badRequest("The VM group %s does not exist.", g.ID)
		}
	}
	g := &logicalGroup{thing: thing{id: newID(), name: body.Name, seq: c.s.next()}, body: string(c.body)}
	c.s.logicalGroups[g.id] = g
	return &answer{status: http.StatusCreated, json: g.json()}, nil
}

func (c *call) deleteLogicalGroup() (*answer, error) {
	g, err := c.theLogicalGroup()
	if err != nil {
		return nil, err
	}
	for _, p := range c.s.policies {
		if strings.Contains(p.body, g.id) {
			return nil, badRequest("The logical VM group \"%s\" cannot be deleted: the policy \"%s\" names it.", g.name, p.name)
		}
	}
	delete(c.s.logicalGroups, g.id)
	return noContent(), nil
}

// A vmGroup is a DRS VM group of a cluster.
type vmGroup struct{ cluster, clusterName, name string }

func (g vmGroup) id(vc *vcenter) string      { return uuidOf(vc.id, "vm group", g.cluster, g.name) }
func (g vmGroup) namedID(vc *vcenter) string { return uuidOf(vc.id, "named vm group", g.name) }

// vmGroups reads the VM groups of a vCenter's clusters.
func (vc *vcenter) vmGroups(ctx context.Context) ([]vmGroup, error) {
	clusters, _, err := vc.clusters(ctx)
	if err != nil {
		return nil, err
	}
	var out []vmGroup
	for _, cl := range clusters {
		conf, is := cl.ConfigurationEx.(*types.ClusterConfigInfoEx)
		if !is {
			continue
		}
		for _, g := range conf.Group {
			if _, vms := g.(*types.ClusterVmGroup); vms {
				out = append(out, vmGroup{cl.Self.Value, cl.Name, g.GetClusterGroupInfo().Name})
			}
		}
	}
	return out, nil
}

func (vc *vcenter) clusters(ctx context.Context) ([]mo.ClusterComputeResource, *object.ClusterComputeResource, error) {
	client, err := vc.connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	v, err := view.NewManager(client).CreateContainerView(ctx, client.ServiceContent.RootFolder, []string{"ClusterComputeResource"}, true)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = v.Destroy(context.WithoutCancel(ctx)) }()
	var all []mo.ClusterComputeResource
	if err := v.Retrieve(ctx, []string{"ClusterComputeResource"}, []string{"name", "configurationEx"}, &all); err != nil || len(all) == 0 {
		return nil, nil, err
	}
	return all, object.NewClusterComputeResource(client, all[0].Self), nil
}

// AddVMGroup makes a DRS VM group, without VMs, in the first cluster of a
// vCenter. A group that is there already stays.
func (s *Server) AddVMGroup(vcenter, name string) error {
	s.mu.Lock()
	vc := s.vcenterNamed(vcenter)
	s.mu.Unlock()
	if vc == nil {
		return badRequest("VM group %s: no vCenter %q", name, vcenter)
	}
	groups, err := vc.vmGroups(s.ctx)
	if err != nil || slices.ContainsFunc(groups, func(g vmGroup) bool { return g.name == name }) {
		return err
	}
	_, first, err := vc.clusters(s.ctx)
	if err != nil || first == nil {
		return badRequest("VM group %s: no cluster in vCenter %s: %v", name, vc.name, err)
	}
	t, err := first.Reconfigure(s.ctx, &types.ClusterConfigSpecEx{GroupSpec: []types.ClusterGroupSpec{{
		ArrayUpdateSpec: types.ArrayUpdateSpec{Operation: types.ArrayUpdateOperationAdd},
		Info:            &types.ClusterVmGroup{ClusterGroupInfo: types.ClusterGroupInfo{Name: name}}}}}, true)
	return await(s.ctx, t, err)
}
