package vcd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
)

// collect runs a query and turns each record into a T; convert tells with
// false to leave one out. With ErrShort it returns what there is.
func collect[T any](ctx context.Context, c *Client, typ, filter string, convert func(Record) (T, bool)) ([]T, error) {
	var all []T
	for r, err := range c.Query(ctx, typ, filter) {
		if errors.Is(err, ErrShort) {
			return all, err
		}
		if err != nil {
			return nil, err
		}
		if v, ok := convert(r); ok {
			all = append(all, v)
		}
	}
	return all, nil
}

// byRole picks the query type: a tenant does not see the system's view.
func (c *Client) byRole(provider, tenant string) string {
	if c.provider {
		return provider
	}
	return tenant
}

// Orgs lists the organizations that the session sees. Of tenants only an
// organization's administrators may ask.
func (c *Client) Orgs(ctx context.Context) ([]OrgRef, error) {
	return collect(ctx, c, "organization", "", func(r Record) (OrgRef, bool) {
		return OrgRef{
			ID: r.id(), Name: r.Attrs["name"], Href: r.Href, DisplayName: r.Attrs["displayName"],
			Enabled: r.bool("isEnabled"),
		}, true
	})
}

// StoredVMQuota is how many VMs an organization (URN) may have; 0 is any
// number, or that the session may not know.
func (c *Client) StoredVMQuota(ctx context.Context, orgID string) (int, error) {
	if !c.provider {
		return 0, nil
	}
	doc, err := c.Get(ctx, "/api/admin/org/"+UUID(orgID)+"/settings/general")
	if IsForbidden(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var e struct {
		Quota int `xml:"StoredVmQuota"`
	}
	if err := parse(doc.Raw, "", &e); err != nil {
		return 0, fmt.Errorf("settings of organization %s: %w", orgID, err)
	}
	return e.Quota, nil
}

// VDCs lists the organization VDCs that the session sees.
func (c *Client) VDCs(ctx context.Context) ([]VDCRef, error) {
	return collect(ctx, c, c.byRole("adminOrgVdc", "orgVdc"), "", func(r Record) (VDCRef, bool) {
		return VDCRef{
			ID: r.id(), Name: r.Attrs["name"], Href: r.Href, Enabled: r.bool("isEnabled"),
			OrgID: c.orgURN(r), OrgName: r.Attrs["orgName"],
		}, true
	})
}

// orgURN is the record's org; a tenant's records belong to the tenant's own.
func (c *Client) orgURN(r Record) string {
	if org := r.Attrs["org"]; org != "" {
		return URN(org)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.orgID
}

// VApps lists vApps; filter is in the query service's language, "" is all.
// With ErrShort it lists those that the server shows.
func (c *Client) VApps(ctx context.Context, filter string) ([]VAppRef, error) {
	vapps, err := collect(ctx, c, c.byRole("adminVApp", "vApp"), filter, func(r Record) (VAppRef, bool) {
		return VAppRef{
			ID: r.id(), Name: r.Attrs["name"], Href: r.Href,
			OrgID: c.orgURN(r), OrgName: r.Attrs["orgName"],
			VDCID: URN(r.Attrs["vdc"]), VDCName: r.Attrs["vdcName"], OwnerName: r.Attrs["ownerName"],
			Status:        r.Attrs["status"],
			InMaintenance: r.bool("isInMaintenanceMode"), AutoNature: r.bool("isAutoNature"),
			VMCount: int(r.int("numberOfVMs")), StorageKB: r.int("storageKB"),
			Expired: r.bool("isExpired"),
		}, true
	})
	if err != nil && !errors.Is(err, ErrShort) || len(vapps) == 0 {
		return vapps, err
	}
	// The records know their org by reference alone.
	names, short := c.orgNames(ctx)
	if short != nil && !errors.Is(short, ErrShort) {
		return nil, short
	}
	for i := range vapps {
		if name := names[vapps[i].OrgID]; name != "" {
			vapps[i].OrgName = name
		}
	}
	return vapps, errors.Join(err, short)
}

// orgNames returns the names of the organizations by their URNs: with ErrShort
// of those that the server shows. A tenant may not ask for any, and sees what
// is of the tenant's own.
func (c *Client) orgNames(ctx context.Context) (map[string]string, error) {
	names := map[string]string{}
	if !c.provider {
		c.mu.Lock()
		defer c.mu.Unlock()
		names[c.orgID] = cmp.Or(c.orgName, c.org)
		return names, nil
	}
	orgs, err := c.Orgs(ctx)
	for _, o := range orgs {
		names[o.ID] = o.Name
	}
	return names, err
}

// VMs lists VMs, those of vApp templates left out; filter as with VApps.
func (c *Client) VMs(ctx context.Context, filter string) ([]VMRef, error) {
	return collect(ctx, c, c.byRole("adminVM", "vm"), filter, func(r Record) (VMRef, bool) {
		return VMRef{
			ID: r.id(), Name: r.Attrs["name"], Href: r.Href,
			VAppID: URN(r.Attrs["container"]), VAppName: r.Attrs["containerName"],
			OrgID: c.orgURN(r), VDCID: URN(r.Attrs["vdc"]),
			MoRef: r.Attrs["moref"], VCenter: URN(r.Attrs["vc"]), VCenterHref: r.Attrs["vc"],
			Status: r.Attrs["status"], GuestOS: r.Attrs["guestOs"], StorageProfileName: r.Attrs["storageProfileName"],
			NumCPU: int(r.int("numberOfCpus")), MemoryMB: r.int("memoryMB"),
			HardwareVersion: int(r.int("hardwareVersion")),
			AutoNature:      r.bool("isAutoNature"), Deployed: r.bool("isDeployed"),
		}, !r.bool("isVAppTemplate")
	})
}

// VimServers lists the vCenters attached to the cloud. System administrators
// only.
func (c *Client) VimServers(ctx context.Context) ([]VimServer, error) {
	doc, err := c.Get(ctx, "/api/admin/extension/vimServerReferences")
	if err != nil {
		return nil, err
	}
	var list struct {
		References []reference `xml:"VimServerReference"`
	}
	if err := parse(doc.Raw, "VMWVimServerReferences", &list); err != nil {
		return nil, fmt.Errorf("vCenters: %w", err)
	}
	var servers []VimServer
	for _, r := range list.References {
		doc, err := c.Get(ctx, r.Href)
		if err != nil {
			return nil, fmt.Errorf("vCenter %s: %w", r.Name, err)
		}
		var e struct {
			Name string `xml:"name,attr"`
			URL  string `xml:"Url"`
			UUID string `xml:"Uuid"`
		}
		if err := parse(doc.Raw, "VimServer", &e); err != nil {
			return nil, fmt.Errorf("vCenter %s: %w", r.Name, err)
		}
		servers = append(servers, VimServer{ID: URN(r.Href), Href: r.Href, Name: e.Name, URL: e.URL, UUID: e.UUID})
	}
	return servers, nil
}

// ErrNoUser says that an organization has no user of that name.
var ErrNoUser = errors.New("no such user")

// OrgUsers lists the users of an organization (URN).
func (c *Client) OrgUsers(ctx context.Context, orgID string) ([]UserRef, error) {
	return c.users(ctx, orgID, "", "")
}

// UserByName finds a user of an organization (URN) by name, case ignored as
// the server does; ErrNoUser if there is none.
func (c *Client) UserByName(ctx context.Context, orgID, name string) (UserRef, error) {
	users, err := c.users(ctx, orgID, Filter("name==", name), name)
	switch {
	case len(users) > 0:
		return users[0], nil
	case err != nil:
		return UserRef{}, err
	}
	return UserRef{}, fmt.Errorf("user %s: %w", name, ErrNoUser)
}

func (c *Client) users(ctx context.Context, orgID, filter, name string) ([]UserRef, error) {
	return collect(ctx, c, c.byRole("adminUser", "user"), filter, func(r Record) (UserRef, bool) {
		u := UserRef{ID: r.id(), Href: r.Href, Name: r.Attrs["name"], OrgID: c.orgURN(r)}
		return u, UUID(u.OrgID) == UUID(orgID) && (name == "" || strings.EqualFold(u.Name, name))
	})
}

type vdcElement struct {
	Name            string      `xml:"name,attr"`
	Links           []link      `xml:"Link"`
	Networks        []reference `xml:"AvailableNetworks>Network"`
	StorageProfiles []reference `xml:"VdcStorageProfiles>VdcStorageProfile"`
}

func (c *Client) vdc(ctx context.Context, id string) (*vdcElement, error) {
	doc, err := c.getByID(ctx, id)
	if err != nil {
		return nil, err
	}
	var e vdcElement
	if err := parse(doc.Raw, "", &e); err != nil {
		return nil, fmt.Errorf("VDC %s: %w", id, err)
	}
	return &e, nil
}

// VDCNetworks lists the organization networks that vApps of a VDC (URN) can
// be connected to, shared ones of other VDCs included.
func (c *Client) VDCNetworks(ctx context.Context, vdcID string) ([]NetworkRef, error) {
	vdc, err := c.vdc(ctx, vdcID)
	if err != nil {
		return nil, err
	}
	var all []NetworkRef
	for _, n := range vdc.Networks {
		r := ref(n)
		all = append(all, NetworkRef{ID: r.ID, Name: r.Name, Href: r.Href})
	}
	return all, nil
}

// StorageProfiles lists the storage profiles of a VDC (URN).
func (c *Client) StorageProfiles(ctx context.Context, vdcID string) ([]StorageProfile, error) {
	vdc, err := c.vdc(ctx, vdcID)
	if err != nil {
		return nil, err
	}
	var all []StorageProfile
	for _, p := range vdc.StorageProfiles {
		r := ref(p)
		all = append(all, StorageProfile{ID: r.ID, Name: r.Name, Href: r.Href})
	}
	return all, nil
}

// vdcHome is the name of a VDC, which links to it do not tell, and its
// organization.
type vdcHome struct {
	name string
	org  Ref
}

// orgOfVDC follows a VDC's link to its organization; VDCs do not move, so the
// answer is kept. A VDC that the session may not see gives neither.
func (c *Client) orgOfVDC(ctx context.Context, vdcHref string) (vdcHome, error) {
	if vdcHref == "" {
		return vdcHome{}, nil
	}
	if home, ok := c.vdcOrgs.Load(vdcHref); ok {
		return home.(vdcHome), nil
	}
	vdc, err := c.vdc(ctx, vdcHref)
	if IsNotFound(err) || IsForbidden(err) {
		return vdcHome{}, nil
	}
	if err != nil {
		return vdcHome{}, err
	}
	org := orgLink(vdc.Links)
	if org.Href != "" && org.Name == "" {
		if org.Name, err = c.nameOf(ctx, org.Href); err != nil {
			return vdcHome{}, err
		}
	}
	home := vdcHome{name: vdc.Name, org: org}
	c.vdcOrgs.Store(vdcHref, home)
	return home, nil
}

func orgLink(links []link) Ref {
	for _, l := range links {
		if r := ref(reference{Href: l.Href, Name: l.Name, Type: l.Type}); l.Rel == "up" && strings.HasPrefix(r.ID, "urn:vcloud:org:") {
			return r
		}
	}
	return Ref{}
}

// nameOf reads the name of any entity.
func (c *Client) nameOf(ctx context.Context, href string) (string, error) {
	doc, err := c.Get(ctx, href)
	if IsNotFound(err) || IsForbidden(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var e struct {
		Name string `xml:"name,attr"`
	}
	if err := parse(doc.Raw, "", &e); err != nil {
		return "", fmt.Errorf("%s: %w", href, err)
	}
	return e.Name, nil
}
