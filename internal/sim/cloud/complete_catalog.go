package cloud

import (
	"cmp"
	"fmt"
	"strings"
)

func (c *checker) catalogs(thing string, s *Site, o *Org) {
	unique(c, thing, "VDC group", o.VDCGroups, func(g *VDCGroup) string { return g.Name })
	for _, g := range o.VDCGroups {
		c.some(thing+": VDC group "+g.Name, "vdcs", len(g.VDCs))
		for _, v := range g.VDCs {
			known(c, thing+": VDC group "+g.Name, "VDC", v, o.VDCs, func(v *VDC) string { return v.Name })
		}
	}
	unique(c, thing, "catalog", o.Catalogs, func(k *Catalog) string { return k.Name })
	for i := range o.Catalogs {
		c.catalog(thing, s, o, &o.Catalogs[i])
	}
}

func (c *checker) catalog(thing string, s *Site, o *Org, k *Catalog) {
	thing += ": catalog " + k.Name
	k.Owner = c.firstUser(thing, o, k.Owner)
	if k.Access != nil {
		c.access(thing, o, k.Access)
	}
	for _, name := range k.SharedWith {
		if known(c, thing+": sharedWith", "org", name, s.Orgs, func(o *Org) string { return o.Name }) != nil && name == o.Name {
			c.add(thing, "sharedWith %q: it is the catalog's own org", name)
		}
	}
	for _, name := range k.StorageProfiles {
		vdc, profile, _ := strings.Cut(name, "/")
		if v := known(c, thing+": storageProfiles", "VDC", vdc, o.VDCs, vdcName); v != nil {
			known(c, thing+": storageProfiles", "storage profile", profile, v.StorageProfiles, profileName)
		}
	}
	c.metadata(thing, k.Metadata)
	seen := map[string]bool{}
	item := func(kind, name string) {
		if name == "" || seen[name] {
			c.add(thing, "%s %q: no name, or two items of it", kind, name)
		}
		seen[name] = true
	}
	for i := range k.Templates {
		item("template", k.Templates[i].Name)
		c.template(thing, s, o, &k.Templates[i])
	}
	for i := range k.Media {
		item("media", k.Media[i].Name)
		c.medium(thing, o, &k.Media[i])
	}
}

// firstUser fills in the owner of what has none.
func (c *checker) firstUser(thing string, o *Org, name string) string {
	if name == "" && len(o.Users) > 0 {
		return o.Users[0].Name
	}
	if name != "" {
		known(c, thing, "user", name, o.Users, userName)
	}
	return name
}

// home finds the VDC of a template or a medium.
func (c *checker) home(thing string, o *Org, name *string) *VDC {
	if *name == "" && len(o.VDCs) > 0 {
		*name = o.VDCs[0].Name
	}
	return known(c, thing, "VDC", *name, o.VDCs, vdcName)
}

func (c *checker) template(thing string, s *Site, o *Org, t *Template) {
	thing += ": template " + t.Name
	v := c.home(thing, o, &t.VDC)
	if v == nil {
		return
	}
	if t.Access != nil {
		c.add(thing, "access: it is the catalog's")
	}
	for i := range t.VMs {
		if p := t.VMs[i].Power; p != "" && p != "off" {
			c.add(fmt.Sprintf("%s: vm %s", thing, t.VMs[i].Name), "power %q: a template's VMs are off", p)
		}
	}
	if t.StorageProfile != "" {
		known(c, thing, "storage profile", t.StorageProfile, v.StorageProfiles, profileName)
	}
	c.vapp(thing, o, v, &t.VApp)
}

func (c *checker) medium(thing string, o *Org, m *Medium) {
	thing += ": media " + m.Name
	m.Owner = c.firstUser(thing, o, m.Owner)
	v := c.home(thing, o, &m.VDC)
	if v != nil && m.StorageProfile != "" {
		known(c, thing, "storage profile", m.StorageProfile, v.StorageProfiles, profileName)
	}
	if m.From == "" {
		m.Size = cmp.Or(m.Size, 64<<10)
	}
	if m.Size%2048 != 0 || m.From != "" && m.Size != 0 {
		c.add(thing, "want a size in whole sectors of 2048 bytes, or an image")
	}
	c.metadata(thing, m.Metadata)
}

func vdcName(v *VDC) string { return v.Name }
