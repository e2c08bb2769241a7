package cloud

import (
	"fmt"
	"strings"

	"github.com/vappvault/vappvault/internal/sim/director"
)

func addCatalogs(d *director.Server, site *Site, o *Org, morefs map[*VM]string) error {
	ids := map[*Catalog]string{}
	for i := range o.Catalogs {
		k := &o.Catalogs[i]
		id, err := addCatalog(d, site, o, k)
		if err != nil {
			return fmt.Errorf("catalog %s: %w", k.Name, err)
		}
		ids[k] = id
	}
	var failed error
	o.eachTemplate(site, func(p place, t *Template) {
		if failed == nil {
			if _, err := d.AddTemplate(templateSpec(p, t, ids[p.catalog], morefs)); err != nil {
				failed = fmt.Errorf("catalog %s: %w", p.catalog.Name, err)
			}
		}
	})
	return failed
}

func addCatalog(d *director.Server, site *Site, o *Org, k *Catalog) (string, error) {
	spec := director.CatalogSpec{
		ID: uuid("catalog", site.ID, o.Name, k.Name), Org: uuid("org", site.ID, o.Name), Name: k.Name, Description: k.Description, Owner: k.Owner,
		Published: k.Published, SharedWith: k.SharedWith, Metadata: metadata(k.Metadata),
	}
	if k.Access != nil {
		spec.Access = access(k.Access)
	}
	for _, name := range k.StorageProfiles {
		vdc, profile, _ := strings.Cut(name, "/")
		spec.StorageProfiles = append(spec.StorageProfiles, place{site: site, org: o, vdc: o.vdc(vdc)}.uuid("storage profile", profile))
	}
	id, err := d.AddCatalog(spec)
	if err != nil {
		return "", err
	}
	for i := range k.Media {
		m := &k.Media[i]
		p := place{site: site, org: o, vdc: o.vdc(m.VDC), catalog: k}
		if _, err := d.AddMedia(director.MediaSpec{
			ID: p.uuid("media", m.Name), ItemID: p.uuid("catalog item", m.Name), Catalog: id, VDC: uuid("vdc", site.ID, o.Name, m.VDC),
			Name: m.Name, Description: m.Description, Owner: m.Owner, StorageProfile: m.StorageProfile, From: m.From, Size: int64(m.Size),
			Metadata: metadata(m.Metadata),
		}); err != nil {
			return "", err
		}
	}
	return id, nil
}

func templateSpec(p place, t *Template, catalog string, morefs map[*VM]string) director.TemplateSpec {
	return director.TemplateSpec{
		VAppSpec: vappSpec(p, uuid("vdc", p.site.ID, p.org.Name, p.vdc.Name), morefs), Catalog: catalog, ItemID: p.uuid("catalog item"),
		GoldMaster: t.GoldMaster, NoCustomization: t.NoCustomization, EULAs: t.EULAs, StorageProfile: t.StorageProfile,
	}
}

func access(a *Access) director.AccessSpec {
	spec := director.AccessSpec{Everyone: a.Everyone, Users: map[string]string{}}
	for _, grant := range a.Users {
		spec.Users[grant.User] = grant.Level
	}
	return spec
}
