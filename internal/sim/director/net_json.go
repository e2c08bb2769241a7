package director

import (
	"encoding/json"
	"maps"
	"net/http"
	"strings"
)

// jsonBody is the object that a request brought.
func (c *call) jsonBody(into any) (map[string]any, error) {
	out := map[string]any{}
	if err := json.Unmarshal(c.body, &out); err != nil {
		return nil, badRequest("Unable to deserialize the message body: %s", err)
	}
	if into == nil {
		return out, nil
	}
	if err := json.Unmarshal(c.body, into); err != nil {
		return nil, badRequest("Unable to deserialize the message body: %s", err)
	}
	return out, nil
}

// cloudAccepted is the answer of a call to /cloudapi that began a task: its
// address, and no body.
func (c *call) cloudAccepted(t *task) *answer {
	return &answer{status: http.StatusAccepted, header: map[string]string{"Location": c.s.href("/api/task/" + t.id)}}
}

// A refJSON is a reference to an entity.
type refJSON struct {
	Name string `json:"name"`
	ID   string `json:"id"`
}

// refTo is a reference for an answer.
func refTo(id, name string) map[string]any { return map[string]any{"id": id, "name": name} }

// A subnetJSON is a subnet of a network or of an uplink.
type subnetJSON struct {
	Gateway      string      `json:"gateway"`
	PrefixLength int         `json:"prefixLength"`
	DNSServer1   string      `json:"dnsServer1"`
	DNSServer2   string      `json:"dnsServer2"`
	DNSSuffix    string      `json:"dnsSuffix"`
	PrimaryIP    string      `json:"primaryIp"`
	IPRanges     *rangesJSON `json:"ipRanges"`
	// AutoAllocateIPRanges and TotalIPCount ask for that many addresses,
	// wherever they are.
	AutoAllocateIPRanges bool `json:"autoAllocateIpRanges"`
	TotalIPCount         int  `json:"totalIpCount"`
}

type rangesJSON struct {
	Values []rangeJSON `json:"values"`
}

type rangeJSON struct {
	StartAddress string `json:"startAddress"`
	EndAddress   string `json:"endAddress"`
}

type subnetsJSON struct {
	Values []subnetJSON `json:"values"`
}

// scope is the subnet as this server keeps it.
func (n subnetJSON) scope() ipScope {
	sc := ipScope{gateway: n.Gateway, dns1: n.DNSServer1, dns2: n.DNSServer2, suffix: n.DNSSuffix}
	if a, ok := addrOf(n.Gateway); ok && a.Is4() {
		sc.netmask = maskOf(n.PrefixLength)
	} else {
		sc.bits = n.PrefixLength
	}
	if n.IPRanges != nil {
		for _, r := range n.IPRanges.Values {
			sc.ranges = append(sc.ranges, IPRange{r.StartAddress, or(r.EndAddress, r.StartAddress)})
		}
	}
	return sc
}

func (list subnetsJSON) scopes() []ipScope {
	var out []ipScope
	for _, n := range list.Values {
		out = append(out, n.scope())
	}
	return out
}

// json is a subnet as the OpenAPI shows it.
func (sc ipScope) json(used int) map[string]any {
	bits := sc.bits
	if bits == 0 {
		bits = max(0, maskBits(sc.netmask))
	}
	rs := []any{}
	for _, r := range sc.ranges {
		rs = append(rs, map[string]any{"startAddress": r.Start, "endAddress": r.End})
	}
	return map[string]any{"gateway": sc.gateway, "prefixLength": bits, "dnsServer1": sc.dns1, "dnsServer2": sc.dns2, "dnsSuffix": sc.suffix,
		"ipRanges": map[string]any{"values": rs}, "enabled": true, "totalIpCount": sc.poolSize(), "usedIpCount": used}
}

// overlay is what was written with what the server says laid over it.
func overlay(extra string, ours map[string]any) map[string]any {
	out := asFields(extra)
	maps.Copy(out, ours)
	return out
}

// ownerOfBody is the VDC that a body belongs to, and the group where it is one.
func (c *call) ownerOfBody(owner, vdcRef *refJSON) (*vdc, string, error) {
	id := ""
	for _, r := range []*refJSON{owner, vdcRef} {
		if r != nil && id == "" {
			id = r.ID
		}
	}
	if strings.Contains(id, ":vdcGroup:") {
		g := c.s.netDocs[uuidIn(id)]
		if g == nil || g.kind != "vdcGroup" {
			return nil, "", missing("vdcGroup", id)
		}
		for _, v := range c.s.vdcsOfGroup(g) {
			return v, g.id, nil
		}
		return nil, "", badRequest("The VDC group %q has no VDC.", g.name)
	}
	v := c.s.vdcs[uuidIn(id)]
	if v == nil {
		return nil, "", missing("vdc", or(id, "null"))
	}
	return v, "", nil
}

// moved is where something goes that belongs to a VDC, or to a VDC group that the
// VDC keeps it for: from a VDC into a group that it is of, and back.
func (c *call) moved(to *refJSON, vdc, group string) (string, string, error) {
	if to == nil || to.ID == "" {
		return vdc, group, nil
	}
	v, next, err := c.ownerOfBody(to, nil)
	switch {
	case err != nil:
		return "", "", err
	case next == group && (group != "" || v.id == vdc):
		return vdc, group, nil
	case next != "" && group == "" && c.s.inGroup(c.s.vdcs[vdc], next):
		return vdc, next, nil
	case next == "" && group != "" && c.s.inGroup(v, group):
		return v.id, "", nil
	}
	return "", "", badRequest("The owner cannot become %q: things move from a VDC to a VDC group that it is of, and back.", to.ID)
}

// ownerJSON is the VDC or group that something belongs to.
func (s *Server) ownerJSON(v *vdc, group string) map[string]any {
	if g := s.netDocs[group]; g != nil {
		return refTo("urn:vcloud:vdcGroup:"+g.id, g.name)
	}
	return refTo("urn:vcloud:vdc:"+v.id, v.name)
}

// vdcsOfGroup are the VDCs of a VDC group.
func (s *Server) vdcsOfGroup(g *netDoc) []*vdc {
	var out []*vdc
	list, _ := g.fields()["participatingOrgVdcs"].([]any)
	for _, p := range list {
		row, _ := p.(map[string]any)
		if v := s.vdcs[uuidIn(refID(row, "vdcRef"))]; v != nil {
			out = append(out, v)
		}
	}
	return out
}
