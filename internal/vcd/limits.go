package vcd

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
)

// A VDC is what bounds the vApps of an organization VDC. Numbers that are 0
// bound nothing.
type VDC struct {
	VDCRef
	VMQuota, NICQuota          int
	NetworkQuota, UsedNetworks int      // networks that are built from the pool
	CPU, Memory                Capacity // MHz, MB
	HardwareVersions           []string // "vmx-19"
	Discovery                  bool     // VMs that appear in its resource pool become vApps
	DefaultPolicy              Ref      // compute policy of VMs that name none
	// The resource pool of the VDC, for system administrators.
	VCenterHref, ResourcePool string
}

// A Capacity is what a VDC may use of a resource, and uses.
type Capacity struct{ Allocated, Limit, Used int64 }

// Left is how much of a capacity is free; ok is false where nothing bounds it.
func (c Capacity) Left() (left int64, ok bool) {
	bound := c.Limit
	if bound == 0 {
		bound = c.Allocated
	}
	return max(0, bound-c.Used), bound > 0
}

type capacityElement struct {
	Allocated int64 `xml:"Allocated"`
	Limit     int64 `xml:"Limit"`
	Used      int64 `xml:"Used"`
}

// VDC reads an organization VDC (URN): AdminVdcType, of a tenant VdcType.
func (c *Client) VDC(ctx context.Context, id string) (*VDC, error) {
	doc, err := c.Get(ctx, c.byRole("/api/admin/vdc/", "/api/vdc/")+UUID(id))
	if err != nil {
		return nil, err
	}
	var e struct {
		ID            string          `xml:"id,attr"`
		Name          string          `xml:"name,attr"`
		Href          string          `xml:"href,attr"`
		Enabled       bool            `xml:"IsEnabled"`
		VMQuota       int             `xml:"VmQuota"`
		NICQuota      int             `xml:"NicQuota"`
		NetworkQuota  int             `xml:"NetworkQuota"`
		UsedNetworks  int             `xml:"UsedNetworkCount"`
		CPU           capacityElement `xml:"ComputeCapacity>Cpu"`
		Memory        capacityElement `xml:"ComputeCapacity>Memory"`
		Versions      []string        `xml:"Capabilities>SupportedHardwareVersions>SupportedHardwareVersion"`
		Discovery     string          `xml:"VmDiscoveryEnabled"`
		DefaultPolicy reference       `xml:"DefaultComputePolicy"`
		Pools         []vimRef        `xml:"ResourcePoolRefs>VimObjectRef"`
	}
	if err := parse(doc.Raw, "", &e); err != nil {
		return nil, fmt.Errorf("VDC %s: %w", id, err)
	}
	v := &VDC{
		VDCRef:  VDCRef{ID: id, Name: e.Name, Href: c.Href("urn:vcloud:vdc:" + UUID(id)), Enabled: e.Enabled},
		VMQuota: e.VMQuota, NICQuota: e.NICQuota, NetworkQuota: e.NetworkQuota, UsedNetworks: e.UsedNetworks,
		CPU: Capacity(e.CPU), Memory: Capacity(e.Memory), HardwareVersions: e.Versions,
		Discovery: e.Discovery != "false", DefaultPolicy: ref(e.DefaultPolicy),
	}
	if len(e.Pools) > 0 {
		v.VCenterHref, v.ResourcePool = e.Pools[0].Server.Href, e.Pools[0].MoRef
	}
	return v, nil
}

// A ProfileUse is how full a storage profile is (VdcStorageProfileType).
type ProfileUse struct {
	Enabled, Default bool
	LimitMB, UsedMB  int64 // a limit of 0 is none
}

// ProfileUse reads a storage profile.
func (c *Client) ProfileUse(ctx context.Context, href string) (ProfileUse, error) {
	doc, err := c.Get(ctx, href)
	if err != nil {
		return ProfileUse{}, err
	}
	var e struct {
		Enabled bool   `xml:"Enabled"`
		Default bool   `xml:"Default"`
		Units   string `xml:"Units"`
		Limit   int64  `xml:"Limit"`
		Used    int64  `xml:"StorageUsedMB"`
	}
	if err := parse(doc.Raw, "", &e); err != nil {
		return ProfileUse{}, fmt.Errorf("storage profile %s: %w", href, err)
	}
	if strings.EqualFold(e.Units, "GB") {
		e.Limit <<= 10
	}
	return ProfileUse{Enabled: e.Enabled, Default: e.Default, LimitMB: e.Limit, UsedMB: e.Used}, nil
}

// ComputePolicies lists the compute policies that VMs of a VDC (URN) may have;
// none where the server knows none (before API 33.0).
func (c *Client) ComputePolicies(ctx context.Context, vdcID string) ([]Ref, error) {
	doc, err := c.Get(ctx, c.byRole("/api/admin/vdc/", "/api/vdc/")+UUID(vdcID)+"/computePolicies")
	if _, absent := absence(err); absent {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var e struct {
		Policies []reference `xml:"VdcComputePolicyReference"`
	}
	if err := parse(doc.Raw, "", &e); err != nil {
		return nil, fmt.Errorf("compute policies of VDC %s: %w", vdcID, err)
	}
	var out []Ref
	for _, p := range e.Policies {
		out = append(out, ref(p))
	}
	return out, nil
}

// OrgLimits are what an organization allows its vApps. Leases are in seconds;
// 0 is for ever, and any number of VMs.
type OrgLimits struct {
	DeploymentLease, StorageLease int64
	DeployedVMs, StoredVMs        int
}

// OrgLimits reads the settings of an organization (URN); nil where the session
// may not know them.
func (c *Client) OrgLimits(ctx context.Context, orgID string) (*OrgLimits, error) {
	doc, err := c.Get(ctx, "/api/admin/org/"+UUID(orgID)+"/settings")
	if _, absent := absence(err); absent {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var e struct {
		Deployment int64 `xml:"VAppLeaseSettings>DeploymentLeaseSeconds"`
		Storage    int64 `xml:"VAppLeaseSettings>StorageLeaseSeconds"`
		Deployed   int   `xml:"OrgGeneralSettings>DeployedVMQuota"`
		Stored     int   `xml:"OrgGeneralSettings>StoredVmQuota"`
	}
	if err := parse(doc.Raw, "", &e); err != nil {
		return nil, fmt.Errorf("settings of organization %s: %w", orgID, err)
	}
	return &OrgLimits{e.Deployment, e.Storage, e.Deployed, e.Stored}, nil
}

// A Quota is one of those that an organization, a user or a vApp is held to.
type Quota struct {
	Resource   string   `json:"resourceType"` // memory, cpu, storage, urn:vcloud:legacy:vm
	Unit       string   `json:"quotaResourceUnit"`
	Limit      int64    `json:"quota"` // negative: none
	Qualifiers []string `json:"qualifiers"`
	Used       int64    `json:"-"`
}

// Running tells whether a quota counts what runs only.
func (q Quota) Running() bool {
	return len(q.Qualifiers) > 0 || q.Resource == "memory" || q.Resource == "cpu"
}

// Quotas lists the quotas of an entity, kind "orgs", "users" or "vapps" and
// URN; none where the server does not tell (API 35.0).
func (c *Client) Quotas(ctx context.Context, kind, urn string) ([]Quota, error) {
	answer, err := c.Do(ctx, Request{Method: http.MethodGet, Href: "/cloudapi/1.0.0/" + kind + "/" + urn + "/quotas"})
	if _, absent := absence(err); absent {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var e struct {
		Pools []struct {
			Definition Quota `json:"quotaPoolDefinition"`
			Used       int64 `json:"quotaConsumed"`
		} `json:"quotaPools"`
	}
	if err := json.Unmarshal(answer.Body, &e); err != nil {
		return nil, fmt.Errorf("quotas of %s: %w", urn, err)
	}
	var out []Quota
	for _, p := range e.Pools {
		p.Definition.Used = p.Used
		out = append(out, p.Definition)
	}
	return out, nil
}

// OrgGroups lists the groups of an organization (URN).
func (c *Client) OrgGroups(ctx context.Context, orgID string) ([]Ref, error) {
	return collect(ctx, c, c.byRole("adminGroup", "group"), "", func(r Record) (Ref, bool) {
		return Ref{ID: r.id(), Name: r.Attrs["name"], Href: r.Href}, UUID(c.orgURN(r)) == UUID(orgID)
	})
}

// Media lists the media that the session sees, of the VDCs of an organization
// (URN).
func (c *Client) Media(ctx context.Context, orgID string) ([]Ref, error) {
	return collect(ctx, c, c.byRole("adminMedia", "media"), "", func(r Record) (Ref, bool) {
		return Ref{ID: r.id(), Name: r.Attrs["name"], Href: r.Href}, UUID(c.orgURN(r)) == UUID(orgID)
	})
}

// A Subnet is an IP scope: of a network of an organization or of a vApp.
type Subnet struct {
	Prefix netip.Prefix // invalid where the document tells none
	Ranges [][2]netip.Addr
}

// Contains tells whether an address is one of the subnet; what is not known
// contains everything.
func (s Subnet) Contains(a netip.Addr) bool { return !s.Prefix.IsValid() || s.Prefix.Contains(a) }

// Pool tells whether an address is one that vCD hands out.
func (s Subnet) Pool(a netip.Addr) bool {
	for _, r := range s.Ranges {
		if r[0].Compare(a) <= 0 && a.Compare(r[1]) <= 0 {
			return true
		}
	}
	return false
}

type scopeElement struct {
	Gateway string `xml:"Gateway"`
	Netmask string `xml:"Netmask"`
	Bits    int    `xml:"SubnetPrefixLength"`
	Ranges  []struct {
		First string `xml:"StartAddress"`
		Last  string `xml:"EndAddress"`
	} `xml:"IpRanges>IpRange"`
}

// ParseSubnet reads the first IpScope of a NetworkConfiguration element.
func ParseSubnet(raw []byte) (Subnet, error) {
	var e struct {
		Scopes []scopeElement `xml:"IpScopes>IpScope"`
		Old    []scopeElement `xml:"IpScope"` // before API 5.1
	}
	if err := parse(raw, "", &e); err != nil {
		return Subnet{}, err
	}
	for _, s := range append(e.Scopes, e.Old...) {
		return s.subnet(), nil
	}
	return Subnet{}, nil
}

func (e scopeElement) subnet() Subnet {
	var s Subnet
	bits := e.Bits
	if mask, err := netip.ParseAddr(e.Netmask); err == nil {
		bits = 0
		for _, b := range mask.AsSlice() {
			for ; b&0x80 != 0; b <<= 1 {
				bits++
			}
		}
	}
	if gateway, err := netip.ParseAddr(e.Gateway); err == nil && bits > 0 {
		s.Prefix = netip.PrefixFrom(gateway, bits).Masked()
	}
	for _, r := range e.Ranges {
		first, err := netip.ParseAddr(r.First)
		last, err2 := netip.ParseAddr(r.Last)
		if err == nil && err2 == nil {
			s.Ranges = append(s.Ranges, [2]netip.Addr{first, last})
		}
	}
	return s
}

// NetworkSubnet reads the subnet of a network.
func (c *Client) NetworkSubnet(ctx context.Context, id string) (Subnet, error) {
	doc, err := c.Get(ctx, "/api/network/"+UUID(id))
	if err != nil {
		return Subnet{}, err
	}
	var e struct {
		Scopes []scopeElement `xml:"Configuration>IpScopes>IpScope"`
	}
	if err := parse(doc.Raw, "", &e); err != nil {
		return Subnet{}, fmt.Errorf("network %s: %w", id, err)
	}
	for _, s := range e.Scopes {
		return s.subnet(), nil
	}
	return Subnet{}, nil
}

// An Allocated address is in use on a network, by a VM or the router of a vApp
// network (its UUID), or by what the session may not see.
type Allocated struct {
	IP         string
	Name, UUID string
}

// AllocatedAddresses lists the addresses in use on a network (URN or href).
func (c *Client) AllocatedAddresses(ctx context.Context, id string) ([]Allocated, error) {
	doc, err := c.Get(ctx, "/api/network/"+UUID(id)+"/allocatedAddresses")
	if err != nil {
		return nil, err
	}
	var e struct {
		Addresses []struct {
			Links []link `xml:"Link"`
			IP    string `xml:"IpAddress"`
		} `xml:"IpAddress"`
	}
	if err := parse(doc.Raw, "", &e); err != nil {
		return nil, fmt.Errorf("addresses of network %s: %w", id, err)
	}
	var out []Allocated
	for _, a := range e.Addresses {
		used := Allocated{IP: a.IP}
		for _, l := range a.Links {
			used.Name, used.UUID = l.Name, UUID(l.Href)
		}
		out = append(out, used)
	}
	return out, nil
}
