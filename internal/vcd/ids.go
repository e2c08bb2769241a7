package vcd

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"strings"
)

// uuidAtEnd finds the UUID that ends a URN, an href or an id.
var uuidAtEnd = regexp.MustCompile(`[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// kinds ties the URN's middle part to the path of the entity below /api/.
// An administrator's view of an entity (/api/admin/org/UUID) has the same URN.
var kinds = []struct{ urn, path string }{
	{"vapp", "vApp/vapp-"},
	{"vm", "vApp/vm-"},
	{"vapptemplate", "vAppTemplate/vappTemplate-"},
	{"org", "org/"},
	{"vdc", "vdc/"},
	{"network", "network/"},
	{"user", "admin/user/"},
	{"group", "admin/group/"},
	{"role", "admin/role/"},
	{"task", "task/"},
	{"vimserver", "admin/extension/vimServer/"},
	{"vdcstorageProfile", "vdcStorageProfile/"},
	{"disk", "disk/"},
	{"media", "media/"},
	{"gateway", "admin/edgeGateway/"},
	{"catalog", "catalog/"},
}

// UUID returns the UUID at the end of a URN, href or id, in lower case; "" if
// there is none. It is safe as a path component.
func UUID(id string) string {
	id, _, _ = strings.Cut(id, "?")
	return strings.ToLower(uuidAtEnd.FindString(strings.TrimRight(id, "/")))
}

// URN turns an href into the entity's URN, https://site/api/vApp/vapp-UUID
// into urn:vcloud:vapp:UUID. A URN stays what it is; anything else gives "".
func URN(href string) string {
	href, _, _ = strings.Cut(strings.TrimRight(href, "/"), "?")
	if last := path.Base(href); strings.HasPrefix(last, "urn:") {
		return last
	}
	uuid := UUID(href)
	if uuid == "" {
		return ""
	}
	before := href[:len(href)-len(uuid)]
	for _, k := range kinds {
		short := k.path[strings.LastIndexByte(strings.TrimRight(k.path, "/"), '/')+1:]
		if strings.HasSuffix(before, "/"+short) {
			return "urn:vcloud:" + k.urn + ":" + uuid
		}
	}
	return ""
}

// Href is where the entity with this URN is served on the client's site; an
// href is returned as it is, and an unknown kind gives "".
func (c *Client) Href(urn string) string {
	kind, uuid, ok := strings.Cut(strings.TrimPrefix(urn, "urn:vcloud:"), ":")
	if !strings.HasPrefix(urn, "urn:vcloud:") || !ok {
		if strings.HasPrefix(urn, "https://") || strings.HasPrefix(urn, "/") {
			return urn
		}
		return ""
	}
	for _, k := range kinds {
		if strings.EqualFold(k.urn, kind) && UUID(uuid) == strings.ToLower(uuid) {
			return c.SiteURL() + "/api/" + k.path + uuid
		}
	}
	return ""
}

// locate is Href for what must have one.
func (c *Client) locate(id string) (string, error) {
	if href := c.Href(id); href != "" {
		return href, nil
	}
	return "", fmt.Errorf("id %q: neither a known URN nor an href", id)
}

// getByID fetches the document of an entity by its URN or href.
func (c *Client) getByID(ctx context.Context, id string) (*Document, error) {
	href, err := c.locate(id)
	if err != nil {
		return nil, err
	}
	return c.Get(ctx, href)
}

// ref completes a reference with the URN that its href tells.
func ref(r reference) Ref {
	out := Ref{ID: r.ID, Name: r.Name, Href: r.Href, Type: r.Type}
	if !strings.HasPrefix(out.ID, "urn:") {
		out.ID = URN(r.Href)
	}
	return out
}

// reference is ReferenceType.
type reference struct {
	Href string `xml:"href,attr"`
	ID   string `xml:"id,attr"`
	Name string `xml:"name,attr"`
	Type string `xml:"type,attr"`
}
