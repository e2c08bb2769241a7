package vcd

import (
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
)

// queryEscape makes text part of a query. A space must be %20: the server does
// not read + as one.
func queryEscape(text string) string { return strings.ReplaceAll(url.QueryEscape(text), "+", "%20") }

// pageJobs are the pages of a list of OpenAPI, each a document: NAME.json,
// NAME.2.json, …. next follows what a page leads to beside.
func pageJobs(name, href string, next func([]byte) ([]job, error)) []job {
	return pageJobsFrom(name, href, 1, next)
}

func pageJobsFrom(name, href string, number int, next func([]byte) ([]job, error)) []job {
	j := job{path: name + ".json", href: href + "?pageSize=128"}
	if strings.Contains(href, "?") {
		j.href = href + "&pageSize=128"
	}
	if number > 1 {
		n := strconv.Itoa(number)
		j.path, j.href = name+"."+n+".json", j.href+"&page="+n
	}
	j.follow = func(raw []byte) ([]job, error) {
		var jobs []job
		if count, ok := pick(raw, "pageCount").(float64); ok && float64(number) < count && hasValues(raw) {
			jobs = pageJobsFrom(name, href, number+1, next)
		}
		if next == nil {
			return jobs, nil
		}
		more, err := next(raw)
		return append(jobs, more...), err
	}
	return []job{j}
}

// hasValues tells whether a page lists anything: one that does not is the last
// one, whatever the count says.
func hasValues(raw []byte) bool {
	values, is := pick(raw, "values").([]any)
	return is && len(values) > 0
}

// pick returns a value of a JSON document by the names that lead to it; nil
// where there is none. What else a newer server says does not matter.
func pick(raw []byte, path ...string) any {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return nil // checkForm has refused what is no JSON
	}
	return descend(v, path...)
}

func descend(v any, path ...string) any {
	for _, name := range path {
		object, is := v.(map[string]any)
		if !is {
			return nil
		}
		v = object[name]
	}
	return v
}

// text is pick for a string.
func text(raw []byte, path ...string) string {
	s, _ := pick(raw, path...).(string)
	return s
}

func orgJobs(uuid string) []job {
	if uuid == "" {
		return nil
	}
	return []job{
		{path: "vcd/context/org.xml", href: "/api/admin/org/" + uuid},
		{path: "vcd/context/orgSettings.xml", href: "/api/admin/org/" + uuid + "/settings"},
		{path: "vcd/context/orgMetadata.xml", href: "/api/org/" + uuid + "/metadata"},
		{path: "vcd/context/orgQuotaPolicy.json", href: "/cloudapi/1.0.0/orgs/urn:vcloud:org:" + uuid + "/quotaPolicy", follow: quotaJobs},
	}
}

// vdcJobs fetches a VDC with its policies, its storage profiles, and the
// affinity rules that name VMs of the vApp.
func (c *Client) vdcJobs(uuid, org string, vms []VM) []job {
	if uuid == "" {
		return nil
	}
	urn := "urn:vcloud:vdc:" + uuid
	// The administrator's view holds the tenant's and more; a tenant has only theirs.
	jobs := []job{
		{path: "vcd/context/vdc.xml", href: c.byRole("/api/admin/vdc/", "/api/vdc/") + uuid, follow: c.vdcContextJobs},
		{path: "vcd/context/vdc.json", href: "/cloudapi/1.0.0/vdcs/" + urn},
		{path: "vcd/context/vdcMetadata.xml", href: "/api/vdc/" + uuid + "/metadata"},
		{path: "vcd/context/vdcNetworkProfile.json", href: "/cloudapi/1.0.0/vdcs/" + urn + "/networkProfile"},
		{path: "vcd/context/vdcMaxComputePolicy.json", href: "/cloudapi/1.0.0/vdcs/" + urn + "/maxComputePolicy"},
		{path: "vcd/context/vdcAffinityRules.xml", href: "/api/vdc/" + uuid + "/vmAffinityRules", index: true, follow: affinityJobs(vms)},
	}
	if org != "" {
		jobs = append(jobs, job{path: "vcd/context/vdcControlAccess.xml", href: "/api/org/" + org + "/vdc/" + uuid + "/controlAccess/"})
	}
	return append(jobs, pageJobs("vcd/context/vdcComputePolicies", "/cloudapi/2.0.0/vdcs/"+urn+"/computePolicies", nil)...)
}

// vdcContextJobs follows a VDC to its profiles, its default policy and, for an
// administrator, its provider VDC.
func (c *Client) vdcContextJobs(raw []byte) ([]job, error) {
	var e struct {
		Profiles []reference `xml:"VdcStorageProfiles>VdcStorageProfile"`
		Default  reference   `xml:"DefaultComputePolicy"`
		Provider reference   `xml:"ProviderVdcReference"`
	}
	if err := parse(raw, "", &e); err != nil {
		return nil, err
	}
	var jobs []job
	for _, p := range e.Profiles {
		jobs = append(jobs, profileJobs(p.Href)...)
	}
	jobs = append(jobs, policyJobs(e.Default.Href)...)
	return append(jobs, jobByUUID("vcd/context/providerVDCs/", e.Provider.Href, nil)...), nil
}

// affinityJobs follows a VDC's list of rules to those that name one of the
// VMs. The list itself is not kept: it tells of other people's VMs.
func affinityJobs(vms []VM) func([]byte) ([]job, error) {
	ours := map[string]bool{}
	for _, vm := range vms {
		ours[UUID(vm.ID)] = true
	}
	return func(raw []byte) ([]job, error) {
		var e struct {
			Rules []struct {
				Href string `xml:"href,attr"`
				VMs  []struct {
					References []reference `xml:"VmReference"`
				} `xml:"VmReferences"`
			} `xml:"VmAffinityRule"`
		}
		if err := parse(raw, "", &e); err != nil {
			return nil, err
		}
		var jobs []job
		for _, r := range e.Rules {
			named := false
			for _, list := range r.VMs {
				for _, vm := range list.References {
					named = named || ours[UUID(vm.Href)]
				}
			}
			if named {
				jobs = append(jobs, jobByUUID("vcd/context/affinityRules/", r.Href, nil)...)
			}
		}
		return jobs, nil
	}
}

func profileJobs(href string) []job { return jobByUUID("vcd/context/storageProfiles/", href, nil) }

// policyJobs fetches a compute policy as the document names it, and what the
// newer view says besides (placement, vGPU).
func policyJobs(href string) []job {
	uuid := UUID(href)
	if uuid == "" {
		return nil
	}
	jobs := []job{{path: "vcd/context/computePolicies/" + uuid + ".json", href: href}}
	if strings.Contains(href, "/cloudapi/1.") {
		jobs = append(jobs, job{
			path: "vcd/context/computePolicies/" + uuid + ".v2.json", href: "/cloudapi/2.0.0/vdcComputePolicies/urn:vcloud:vdcComputePolicy:" + uuid,
		})
	}
	return jobs
}

// quotaJobs follows the assignment of a quota policy to the policy.
func quotaJobs(raw []byte) ([]job, error) {
	id := UUID(text(raw, "quotaPolicyReference", "id"))
	if id == "" {
		return nil, nil
	}
	return []job{{path: "vcd/context/quotaPolicies/" + id + ".json", href: "/cloudapi/1.0.0/quotaPolicies/urn:vcloud:quotaPolicy:" + id}}, nil
}

// diskJobs fetches a named disk, who owns it and to what it is attached.
func (c *Client) diskJobs(href string) []job {
	jobs := jobByUUID("vcd/context/disks/", href, func(raw []byte) ([]job, error) {
		var e struct {
			Profile reference `xml:"StorageProfile"`
		}
		if err := parse(raw, "", &e); err != nil {
			return nil, err
		}
		return profileJobs(e.Profile.Href), nil
	})
	if len(jobs) == 0 {
		return nil
	}
	at, name := "/api/disk/"+UUID(href)+"/", "vcd/context/disks/"+UUID(href)
	return append(jobs, job{path: name + ".owner.xml", href: at + "owner", follow: c.ownerJobs},
		job{path: name + ".metadata.xml", href: at + "metadata"},
		job{path: name + ".attachedVms.xml", href: at + "attachedVms"})
}

// mediaJobs fetches a medium that is inserted in a drive.
func (c *Client) mediaJobs(href string) []job {
	jobs := jobByUUID("vcd/context/media/", href, nil)
	if len(jobs) == 0 {
		return nil
	}
	at, name := "/api/media/"+UUID(href)+"/", "vcd/context/media/"+UUID(href)
	return append(jobs, job{path: name + ".owner.xml", href: at + "owner", follow: c.ownerJobs},
		job{path: name + ".metadata.xml", href: at + "metadata"})
}

// networkJobs fetches an organization network in both views, its addresses and
// DHCP, and what connects it to the outside.
func (c *Client) networkJobs(href string) []job {
	const dir = "vcd/context/networks/"
	jobs := jobByUUID(dir, href, networkContext)
	if len(jobs) == 0 {
		return nil
	}
	at, name := "/cloudapi/1.0.0/orgVdcNetworks/urn:vcloud:network:"+UUID(href), dir+UUID(href)
	jobs = append(append(jobs, networkDetails(dir, href)...),
		job{path: name + ".json", href: at, follow: cloudNetworkContext},
		job{path: name + ".dhcp.json", href: at + "/dhcp"})
	jobs = append(jobs, pageJobs(name+".dhcpBindings", at+"/dhcp/bindings", nil)...)
	return append(jobs, pageJobs(name+".allocatedIpAddresses", at+"/allocatedIpAddresses", nil)...)
}

// networkDetails are the documents below a network of a vApp or organization.
func networkDetails(dir, href string) []job {
	uuid := UUID(href)
	if uuid == "" {
		return nil
	}
	return []job{
		{path: dir + uuid + ".allocatedAddresses.xml", href: "/api/network/" + uuid + "/allocatedAddresses/"},
		{path: dir + uuid + ".metadata.xml", href: "/api/network/" + uuid + "/metadata"},
	}
}

// networkContext follows an organization network to its edge gateway or to the
// external network that it is a part of.
func networkContext(raw []byte) ([]job, error) {
	var e struct {
		Gateway reference `xml:"EdgeGateway"`
		Parent  reference `xml:"Configuration>ParentNetwork"`
	}
	if err := parse(raw, "", &e); err != nil {
		return nil, err
	}
	return append(edgeJobs(UUID(e.Gateway.Href)), externalJobs(UUID(e.Parent.Href))...), nil
}

// cloudNetworkContext does the same for the OpenAPI's view, which knows of VDC
// groups as well.
func cloudNetworkContext(raw []byte) ([]job, error) {
	jobs := append(edgeJobs(UUID(text(raw, "connection", "routerRef", "id"))), externalJobs(UUID(text(raw, "parentNetworkId", "id")))...)
	owner := text(raw, "ownerRef", "id")
	if id := UUID(owner); id != "" && strings.Contains(strings.ToLower(owner), ":vdcgroup:") {
		at, name := "/cloudapi/1.0.0/vdcGroups/urn:vcloud:vdcGroup:"+id, "vcd/context/vdcGroups/"+id
		jobs = append(jobs, job{path: name + ".json", href: at},
			job{path: name + ".dfwPolicies.json", href: at + "/dfwPolicies"},
			job{path: name + ".dfwRules.json", href: at + "/dfwPolicies/default/rules"})
		jobs = append(jobs, firewallGroups(name, "urn:vcloud:vdcGroup:"+id)...)
	}
	return jobs, nil
}

// firewallGroups are the sets of addresses and VMs that the rules of a gateway
// or VDC group name.
func firewallGroups(name, context string) []job {
	return pageJobs(name+".firewallGroups", "/cloudapi/1.0.0/firewallGroups/summaries?filterEncoded=true&filter="+queryEscape("_context=="+context), nil)
}

func externalJobs(uuid string) []job {
	if uuid == "" {
		return nil
	}
	return []job{
		{path: "vcd/context/externalNetworks/" + uuid + ".xml", href: "/api/admin/extension/externalnet/" + uuid},
		{path: "vcd/context/externalNetworks/" + uuid + ".json", href: "/cloudapi/1.0.0/externalNetworks/urn:vcloud:network:" + uuid},
	}
}

// edgeJobs fetches an edge gateway with its rules: NAT and firewall name the
// addresses of VMs.
func edgeJobs(uuid string) []job {
	if uuid == "" {
		return nil
	}
	urn := "urn:vcloud:gateway:" + uuid
	at, name := "/cloudapi/1.0.0/edgeGateways/"+urn, "vcd/context/edgeGateways/"+uuid
	jobs := []job{
		{path: name + ".xml", href: "/api/admin/edgeGateway/" + uuid},
		{path: name + ".json", href: at, follow: edgeContext},
		{path: name + ".firewall.json", href: at + "/firewall/rules"},
		{path: name + ".dns.json", href: at + "/dns"},
		{path: name + ".dhcpForwarder.json", href: at + "/dhcpForwarder"},
	}
	jobs = append(jobs, pageJobs(name+".nat", at+"/nat/rules", nil)...)
	jobs = append(jobs, pageJobs(name+".staticRoutes", at+"/routing/staticRoutes", nil)...)
	jobs = append(jobs, pageJobs(name+".usedIpAddresses", at+"/usedIpAddresses", nil)...)
	return append(jobs, firewallGroups(name, urn)...)
}

// edgeContext follows an edge gateway to the networks outside.
func edgeContext(raw []byte) ([]job, error) {
	var jobs []job
	uplinks, _ := pick(raw, "edgeGatewayUplinks").([]any)
	for _, u := range uplinks {
		id, _ := descend(u, "uplinkId").(string)
		jobs = append(jobs, externalJobs(UUID(id))...)
	}
	return jobs, nil
}
