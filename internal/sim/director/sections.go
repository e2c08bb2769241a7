package director

import (
	"context"
	"strings"
)

// putVApp changes name and description of a vApp or a VM.
func (c *call) putVApp() (*answer, error) {
	a, m, err := c.change(accessChange)
	if err != nil {
		return nil, err
	}
	want, root := mediaVCloud+"vApp", "VApp"
	if m != nil {
		want, root = mediaVCloud+"vm", "Vm"
	}
	if err := c.checkType(route{takes: want}); err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, root)
	if err != nil {
		return nil, err
	}
	name, desc := attr(doc, "name"), child(doc, "Description")
	if err := checkName(name); err != nil {
		return nil, err
	}
	if m != nil {
		return c.accepted(c.start("vappUpdateVm", "Updating Virtual Machine", vmOwner(m), func(ctx context.Context) error {
			return c.s.renameVM(ctx, m, name, desc)
		})), nil
	}
	if err := c.s.mayName(a, name); err != nil {
		return nil, err
	}
	return c.accepted(c.start("vdcUpdateVapp", "Updating Virtual Application", vappOwner(a), func(context.Context) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		if err := c.s.mayName(a, name); err != nil {
			return err
		}
		a.name = name
		a.adopt()
		if desc != nil {
			a.desc = allText(desc)
		}
		return nil
	})), nil
}

// mayName applies the rules for a vApp's name.
func (s *Server) mayName(a *vapp, name string) error {
	if name == a.name {
		return nil
	}
	if err := checkName(name); err != nil {
		return err
	}
	if s.vappNamed(a.vdc, name, a) {
		return nameTaken("The name %q is taken by another vApp of the VDC.", name)
	}
	return nil
}

// vappNamed tells whether another vApp of a VDC has a name.
func (s *Server) vappNamed(vdc, name string, except *vapp) bool {
	for _, a := range s.vapps {
		if a != except && a.vdc == vdc && a.name == name && a.status != stateFailed {
			return true
		}
	}
	return false
}

// renameVM renames a VM in vCD and, with its mark, in vCenter.
func (s *Server) renameVM(ctx context.Context, m *vm, name string, desc *node) error {
	if name != m.name {
		obj, err := m.vc.vm(ctx, m.moref)
		if err != nil {
			return err
		}
		t, err := obj.Rename(ctx, marked(name, m.id))
		if err := await(ctx, t, err); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m.name = name
	if desc != nil {
		m.desc = allText(desc)
	}
	return nil
}

// marked is the name that vCD gives a VM in vCenter.
func marked(name, id string) string { return name + " (" + id + ")" }

// putStartup sets the order and delays of a vApp's VMs.
func (c *call) putStartup() (*answer, error) {
	a, err := c.onlyVApp(c.change(accessChange))
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsOVF, "StartupSection")
	if err != nil {
		return nil, err
	}
	items := map[string]StartupItem{}
	for _, it := range childrenOf(doc, "Item") {
		m := a.vmNamed(attr(it, "id"))
		if m == nil {
			return nil, badRequest("The startup section names the VM %q, which vApp %q does not have.", attr(it, "id"), a.name)
		}
		item := StartupItem{VM: m.name, Order: atoi(attr(it, "order")), StartDelay: atoi(attr(it, "startDelay")), StopDelay: atoi(attr(it, "stopDelay")),
			StartAction: or(attr(it, "startAction"), "powerOn"), StopAction: or(attr(it, "stopAction"), "powerOff")}
		if item.StartAction != "powerOn" && item.StartAction != "none" || item.StopAction != "powerOff" && item.StopAction != "guestShutdown" && item.StopAction != "none" {
			return nil, badRequest("The actions %q and %q of VM %q are not known.", item.StartAction, item.StopAction, m.name)
		}
		items[m.id] = item
	}
	return c.accepted(c.start("vdcUpdateVapp", "Updating Virtual Application", vappOwner(a), func(context.Context) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		a.startup = items
		return nil
	})), nil
}

func (a *vapp) vmNamed(name string) *vm {
	for _, m := range a.vms {
		if m.name == name {
			return m
		}
	}
	return nil
}

// getProducts is the list of product sections of a vApp or a VM.
func (c *call) getProducts() (*answer, error) {
	a, m, err := c.target()
	if err != nil {
		return nil, err
	}
	href, sections := c.s.vappHref(a), a.products
	if m != nil {
		href, sections = c.s.vmHref(m), m.products
	}
	typ := mediaVCloud + "productSections"
	d := add(el("ProductSectionList", "href", href+"/productSections/", "type", typ+"+xml"), link("edit", href+"/productSections/", typ+"+xml"))
	for _, p := range sections {
		add(d, p.Copy())
	}
	return ok(typ, d), nil
}

func (c *call) putProducts() (*answer, error) {
	a, m, err := c.change(accessChange)
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "ProductSectionList")
	if err != nil {
		return nil, err
	}
	var sections []*node
	for _, p := range childrenOf(doc, "ProductSection") {
		sections = append(sections, p.Copy())
	}
	return c.accepted(c.start("vdcUpdateVapp", "Updating product sections of", ownerOf(a, m), func(context.Context) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		if m != nil {
			m.products = sections
		} else {
			a.products = sections
		}
		return nil
	})), nil
}

// putGuest sets a VM's guest customization. A password that is not sent stays.
func (c *call) putGuest() (*answer, error) {
	m, err := c.onlyVM(c.change(accessChange))
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "GuestCustomizationSection")
	if err != nil {
		return nil, err
	}
	if err := checkComputer(value(doc, "ComputerName")); err != nil {
		return nil, err
	}
	return c.accepted(c.start("vappUpdateVm", "Updating Virtual Machine", vmOwner(m), func(context.Context) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		m.setGuest(doc)
		return nil
	})), nil
}

func checkComputer(name string) error {
	if len(name) > 63 || strings.ContainsAny(name, " _./\\:*?\"<>|") {
		return badRequest("The computer name %q is not valid.", name)
	}
	return nil
}

// setGuest takes over what a GuestCustomizationSection says.
func (m *vm) setGuest(doc *node) {
	g := &m.guest
	flag := func(to *bool, name string) {
		if v := value(doc, name); v != "" {
			*to = truth(v)
		}
	}
	str := func(to *string, name string) {
		if child(doc, name) != nil {
			*to = raw(doc, name)
		}
	}
	flag(&g.Enabled, "Enabled")
	flag(&g.ChangeSID, "ChangeSid")
	flag(&g.JoinDomain, "JoinDomainEnabled")
	flag(&g.UseOrgSettings, "UseOrgSettings")
	str(&g.Domain, "DomainName")
	str(&g.DomainUser, "DomainUserName")
	str(&g.DomainPassword, "DomainUserPassword")
	str(&g.MachineOU, "MachineObjectOU")
	flag(&g.AdminPasswordAuto, "AdminPasswordAuto")
	str(&g.AdminPassword, "AdminPassword")
	if v := value(doc, "AdminPasswordEnabled"); v != "" {
		g.PasswordEnabled = truth(v)
		if !g.PasswordEnabled {
			g.AdminPassword, g.AdminPasswordAuto = "", false
		}
	}
	flag(&g.AutoLogon, "AdminAutoLogonEnabled")
	if v := value(doc, "AdminAutoLogonCount"); v != "" {
		g.AutoLogonCount = atoi(v)
	}
	flag(&g.ResetPassword, "ResetPasswordRequired")
	str(&g.Script, "CustomizationScript")
	if v := value(doc, "ComputerName"); v != "" {
		m.computer = v
	}
}
