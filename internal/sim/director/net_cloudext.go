package director

import (
	"context"
	"slices"
	"strings"
)

// An extNetJSON is what a client may say of an external network.
type extNetJSON struct {
	Name            string      `json:"name"`
	Description     string      `json:"description"`
	Subnets         subnetsJSON `json:"subnets"`
	NetworkBackings struct {
		Values []struct {
			BackingID        string  `json:"backingId"`
			BackingType      string  `json:"backingType"`
			BackingTypeValue string  `json:"backingTypeValue"`
			NetworkProvider  refJSON `json:"networkProvider"`
		} `json:"values"`
	} `json:"networkBackings"`
	UsingIPSpace bool `json:"usingIpSpace"`
}

// cloudExt is an external network as the OpenAPI shows it.
func (c *call) cloudExt(n *extNet) map[string]any {
	s := c.s
	used := s.usedOn(n)
	subnets, backings := []any{}, []any{}
	total := 0
	for _, sc := range n.subnets {
		subnets, total = append(subnets, sc.json(len(inScope(used, sc)))), total+sc.poolSize()
	}
	for _, b := range n.backings {
		row := map[string]any{"backingId": b.id, "name": b.name, "backingType": b.typ, "backingTypeValue": b.typ, "isNsxTVlanSegment": nil,
			"parentTier0Ref": nil}
		if vc := s.vcenters[b.provider]; vc != nil {
			row["networkProvider"] = refTo("urn:vcloud:vimserver:"+vc.id, vc.name)
		} else if m := s.netDocs[b.provider]; m != nil {
			row["networkProvider"] = refTo("urn:vcloud:nsxtmanager:"+m.id, m.name)
		}
		backings = append(backings, row)
	}
	out := overlay(n.extra, map[string]any{"id": "urn:vcloud:network:" + n.id, "name": n.name, "description": n.desc, "status": "REALIZED",
		"subnets": map[string]any{"values": subnets}, "networkBackings": map[string]any{"values": backings}, "totalIpCount": total, "usedIpCount": len(used),
		"usingIpSpace": usesIPSpaces(n.extra), "dedicatedEdgeGateway": nil})
	if id, is := out["dedicatedOrg"].(map[string]any); is {
		org, _ := id["id"].(string)
		if o := s.orgs[uuidIn(org)]; o != nil {
			out["dedicatedOrg"] = refTo(org, o.name)
		}
	}
	for _, e := range sorted(s.edges) {
		for _, u := range e.uplinks {
			if u.net == n.id && u.dedicated {
				out["dedicatedEdgeGateway"] = refTo("urn:vcloud:gateway:"+e.id, e.name)
			}
		}
	}
	return out
}

func (c *call) cloudExts() (*answer, error) {
	var out []any
	for _, n := range sorted(c.s.extNets) {
		out = append(out, c.cloudExt(n))
	}
	return c.list(out)
}

func (c *call) urnExt() (*extNet, error) {
	n := c.s.extNets[uuidIn(c.path("urn"))]
	if n == nil {
		return nil, missing("network", c.path("urn"))
	}
	return n, nil
}

func (c *call) cloudGetExt() (*answer, error) {
	n, err := c.urnExt()
	if err != nil {
		return nil, err
	}
	return asJSON(c.cloudExt(n)), nil
}

func (c *call) cloudPostExt() (*answer, error) {
	n := &extNet{thing: thing{id: newID(), seq: c.s.next()}}
	if err := c.readCloudExt(n); err != nil {
		return nil, err
	}
	return c.cloudAccepted(c.start("networkCreateExternalNetwork", "Creating External Network", taskOwner{"externalNetwork", n.id, n.name}, func(context.Context) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		c.s.extNets[n.id] = n
		return nil
	})), nil
}

// readCloudExt takes over what the request's body says of an external network.
func (c *call) readCloudExt(n *extNet) error {
	var b extNetJSON
	extra, err := c.jsonBody(&b)
	if err != nil {
		return err
	}
	if len(b.NetworkBackings.Values) == 0 {
		return badRequest("The external network %q needs a network backing.", b.Name)
	}
	n.name, n.desc, n.subnets, n.extra = b.Name, b.Description, b.Subnets.scopes(), asText(extra)
	var backings []netBacking
	for _, w := range b.NetworkBackings.Values {
		typ, provider := or(w.BackingTypeValue, w.BackingType), uuidIn(w.NetworkProvider.ID)
		if vc := c.s.vcenters[provider]; vc != nil {
			found, err := c.vimBacking(vc, w.BackingID, typ)
			if err != nil {
				return err
			}
			backings = append(backings, found...)
			continue
		}
		if m := c.s.netDocs[provider]; m == nil || m.kind != "nsxtManager" {
			return badRequest("The network provider %s does not exist.", w.NetworkProvider.ID)
		}
		d := c.s.netDocs[w.BackingID]
		kinds := map[string]string{"NSXT_TIER0": "tier0", "NSXT_VRF_TIER0": "tier0", "IMPORTED_T_LOGICAL_SWITCH": "segment"}
		if d == nil || d.kind != kinds[typ] || d.parent != provider {
			return badRequest("The network backing %s of type %s does not exist.", w.BackingID, typ)
		}
		if len(n.backings) == 0 && c.s.imported(d.id) {
			return badRequest("The network backing %q is imported already.", d.name)
		}
		backings = append(backings, netBacking{d.id, d.name, typ, provider})
	}
	if len(n.backings) > 0 && n.backings[0].id != backings[0].id {
		return badRequest("The network backing of external network %q cannot change.", n.name)
	}
	n.backings = backings
	return c.s.checkExtNet(n)
}

// imported tells whether an external network has a router or segment of
// NSX-T as its backing.
func (s *Server) imported(id string) bool {
	for _, n := range s.extNets {
		if slices.ContainsFunc(n.backings, func(b netBacking) bool { return b.id == id }) {
			return true
		}
	}
	for _, n := range s.nets {
		if n.backing == id {
			return true
		}
	}
	return false
}

func (c *call) cloudPutExt() (*answer, error) {
	old, err := c.urnExt()
	if err != nil {
		return nil, err
	}
	n := *old
	if err := c.readCloudExt(&n); err != nil {
		return nil, err
	}
	return c.cloudAccepted(c.writeExt("networkUpdateNetwork", old, &n)), nil
}

func (c *call) cloudDeleteExt() (*answer, error) {
	n, err := c.urnExt()
	if err != nil {
		return nil, err
	}
	t, err := c.removeExt(n)
	if err != nil {
		return nil, err
	}
	return c.cloudAccepted(t), nil
}

// context is what "_context" or another field of a filter names; the part of
// the filter is taken out of the query, because no row has such a field.
func (c *call) context(fields ...string) string {
	raw := c.query("filter")
	for part := range strings.SplitSeq(strings.Trim(raw, "()"), ";") {
		k, v, _ := strings.Cut(part, "==")
		if slices.Contains(fields, strings.Trim(k, "()")) {
			return strings.Trim(v, "()")
		}
	}
	return ""
}

// importable lists what an NSX-T manager has of a kind, without what is
// imported already.
func (c *call) importable(kind string) (*answer, error) {
	manager := uuidIn(c.context("_context", "networkProviderId", "nsxTManager", "nsxTManagerRef.id"))
	if q := uuidIn(c.query("nsxTManager")); manager == "" {
		manager = q
	}
	var out []any
	for _, d := range sorted(c.s.netDocs) {
		if d.kind != kind || manager != "" && c.s.netDocs[manager] != nil && c.s.netDocs[manager].kind == "nsxtManager" && d.parent != manager {
			continue
		}
		row := map[string]any{"id": d.id, "name": d.name, "displayName": d.name, "description": d.desc, "alreadyImported": c.s.imported(d.id),
			"nsxTManagerRef": nil, "parentTier0Id": nil}
		if m := c.s.netDocs[d.parent]; m != nil {
			row["nsxTManagerRef"] = refTo("urn:vcloud:nsxtmanager:"+m.id, m.name)
		}
		if c.s.imported(d.id) && kind != "edgeCluster" {
			continue
		}
		out = append(out, row)
	}
	// The context is not a field of the rows: the answer is not filtered by
	// it again.
	c.r.URL.RawQuery = dropFilter(c.r.URL.RawQuery)
	return c.list(out)
}

func dropFilter(raw string) string {
	var keep []string
	for part := range strings.SplitSeq(raw, "&") {
		if !strings.HasPrefix(part, "filter") {
			keep = append(keep, part)
		}
	}
	return strings.Join(keep, "&")
}

// importableSwitches lists the segments of NSX-T that nobody has imported yet.
// Tenants see those of their VDC's manager.
func (c *call) importableSwitches() (*answer, error) {
	manager := uuidIn(c.query("nsxTManager"))
	if v := c.s.vdcs[uuidIn(c.query("orgVdc"))]; v != nil && !c.provider() && v.org != c.login.org.id {
		return nil, noAccess("vdc", v.id)
	}
	out := []any{}
	for _, d := range sorted(c.s.netDocs) {
		if d.kind == "segment" && (manager == "" || d.parent == manager) && !c.s.imported(d.id) {
			out = append(out, map[string]any{"id": d.id, "name": d.name})
		}
	}
	return asJSON(out), nil
}
