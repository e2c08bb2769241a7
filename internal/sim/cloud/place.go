package cloud

import (
	"crypto/sha256"
	"fmt"
	"strings"
)

// A place is where a VM stands in an inventory. VApp is nil for a standalone
// VM.
type place struct {
	site *Site
	org  *Org
	vdc  *VDC
	vapp *VApp

	catalog *Catalog // nil outside templates, whose vapp is the template
}

// eachVM visits every VM in the order of the inventory.
func (inv *Inventory) eachVM(visit func(place, *VM)) {
	for s := range inv.Sites {
		site := &inv.Sites[s]
		for o := range site.Orgs {
			org := &site.Orgs[o]
			for v := range org.VDCs {
				vdc := &org.VDCs[v]
				for a := range vdc.VApps {
					vapp := &vdc.VApps[a]
					for i := range vapp.VMs {
						visit(place{site: site, org: org, vdc: vdc, vapp: vapp}, &vapp.VMs[i])
					}
				}
				for i := range vdc.VMs {
					visit(place{site: site, org: org, vdc: vdc}, &vdc.VMs[i])
				}
			}
			org.eachTemplate(site, func(p place, t *Template) {
				for i := range t.VMs {
					visit(p, &t.VMs[i])
				}
			})
		}
	}
}

// eachTemplate visits the templates of an org's catalogs.
func (o *Org) eachTemplate(site *Site, visit func(place, *Template)) {
	for k := range o.Catalogs {
		for i := range o.Catalogs[k].Templates {
			t := &o.Catalogs[k].Templates[i]
			visit(place{site: site, org: o, vdc: o.vdc(t.VDC), vapp: &t.VApp, catalog: &o.Catalogs[k]}, t)
		}
	}
}

func (o *Org) vdc(name string) *VDC {
	for i := range o.VDCs {
		if o.VDCs[i].Name == name {
			return &o.VDCs[i]
		}
	}
	return nil
}

// path is the VM's name in full, ORG/VDC/VAPP/VM, each part escaped. A
// standalone VM stands in a vApp of its own name, a template in its catalog.
func (p place) path(vm *VM) string {
	vapp := vm.Name
	if p.vapp != nil {
		vapp = p.vapp.Name
	}
	if p.catalog != nil {
		return Path(p.org.Name, p.vdc.Name, p.catalog.Name, vapp, vm.Name)
	}
	return Path(p.org.Name, p.vdc.Name, vapp, vm.Name)
}

var escapes = strings.NewReplacer("%", "%25", "/", "%2F", "@", "%40", "*", "%2A")

// Path joins names as selectors do: with slashes, and with those characters
// of a name that mean something in a selector percent-encoded.
func Path(names ...string) string {
	escaped := make([]string, len(names))
	for i, name := range names {
		escaped[i] = escapes.Replace(name)
	}
	return strings.Join(escaped, "/")
}

// uuid makes the same UUID of the same words every time, so that two runs of
// one inventory can be compared.
func uuid(words ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(words, "\x00")))
	sum[6] = sum[6]&0x0f | 0x80 // version 8: made of something else's bits
	sum[8] = sum[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[0:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

// mac makes an address from the range that VMware keeps for assigned ones.
func mac(words ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(words, "\x00")))
	return fmt.Sprintf("00:50:56:%02x:%02x:%02x", sum[0]&0x3f, sum[1], sum[2])
}
