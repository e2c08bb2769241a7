package director

import "strings"

// vdcMetadataRoutes are the metadata of what only administrators change.
func vdcMetadataRoutes() []route {
	var out []route
	for _, kind := range []string{"vdc", "providervdc", "vdcStorageProfile", "pvdcStorageProfile", "network"} {
		out = append(out, metadataRoutes("admin/"+kind+"/{id}")...)
	}
	// Users only read it.
	for _, kind := range []string{"org", "vdc", "vdcStorageProfile", "network"} {
		at := "GET /api/" + kind + "/{id}/metadata"
		out = append(out, route{pattern: at, handle: (*call).getMetadata}, route{pattern: at + "/{key}", handle: (*call).getMetadataValue},
			route{pattern: at + "/{domain}/{key}", handle: (*call).getMetadataValue})
	}
	return out
}

// adminMetadata is the metadata of an entity below /api/admin for a write.
func (c *call) adminMetadata(path string) (*metadata, taskOwner, error) {
	meta, _, err := c.metadataOf()
	if err != nil {
		return nil, taskOwner{}, err
	}
	kind, _, _ := strings.Cut(path, "/")
	id := uuidIn(c.path("id"))
	owner, org := taskOwner{kind, id, kind}, ""
	switch kind {
	case "vdc":
		owner.name, org = c.s.vdcs[id].name, c.s.vdcs[id].org
	case "providervdc":
		owner.name = c.s.pvdcs[id].name
	case "vdcStorageProfile":
		owner.name = c.s.profiles[id].name
	case "pvdcStorageProfile":
		owner.name = c.s.pvdcProfiles[id].name
	case "network":
		owner.name, org = c.s.nets[id].name, c.s.vdcs[c.s.nets[id].vdc].org
	}
	// Storage profiles and provider VDCs are the provider's.
	if !c.provider() && (org == "" || !c.orgAdmin(org)) {
		return nil, taskOwner{}, noRight("Organization vDC: Edit", id)
	}
	return meta, owner, nil
}
