package director

import "slices"

// The parts of an organization's settings that speak of services outside:
// mail, LDAP, SAML, the domain that guests join. They are kept as they were
// written; no service is ever asked.

// copyInto appends the children of a stored part, without its links and those
// that are named.
func copyInto(d, from *node, without ...string) {
	if from == nil {
		return
	}
	for _, k := range from.ChildElements() {
		if k.Tag != "Link" && !slices.Contains(without, k.Tag) {
			d.AddChild(k.Copy())
		}
	}
}

// kept is a part as it is stored.
func kept(d *node) *node {
	k := el(d.Tag)
	copyInto(k, d)
	return k
}

func writeEmail(o *org, d *node) error {
	if value(d, "IsDefaultSmtpServer") == "false" && child(d, "SmtpServerSettings") == nil {
		return badRequest("An SMTP server of the organization's own needs SmtpServerSettings.")
	}
	o.settings.email = kept(d)
	return nil
}

func fillEmail(_ *Server, o *org, d *node) {
	if o.settings.email == nil {
		add(d, boolean("IsDefaultSmtpServer", true), boolean("IsDefaultOrgEmail", true), text("FromEmailAddress", ""), text("DefaultSubjectPrefix", ""),
			boolean("IsAlertEmailToAllAdmins", true))
		return
	}
	copyInto(d, o.settings.email)
	drop(child(d, "SmtpServerSettings"), "Password")
}

// ldapModes are the values of OrgLdapMode.
var ldapModes = []string{"NONE", "SYSTEM", "CUSTOM"}

func writeLdap(o *org, d *node) error {
	mode := or(value(d, "OrgLdapMode"), "NONE")
	if !slices.Contains(ldapModes, mode) {
		return badRequest("The LDAP mode %q is not one of %q.", mode, ldapModes)
	}
	if mode == "CUSTOM" && child(d, "CustomOrgLdapSettings") == nil {
		return badRequest("An LDAP service of the organization's own needs CustomOrgLdapSettings.")
	}
	o.settings.ldap = kept(d)
	return nil
}

// fillLdap never shows the password.
func fillLdap(_ *Server, o *org, d *node) {
	if o.settings.ldap == nil {
		add(d, text("OrgLdapMode", "NONE"))
		return
	}
	copyInto(d, o.settings.ldap)
	drop(child(d, "CustomOrgLdapSettings"), "Password")
}

func writeFederation(o *org, d *node) error {
	if truth(value(d, "Enabled")) && value(d, "SAMLMetadata") == "" {
		return badRequest("A federation that is enabled needs SAML metadata.")
	}
	o.settings.federation = kept(d)
	return nil
}

func fillFederation(s *Server, o *org, d *node) {
	if o.settings.federation == nil {
		add(d, boolean("Enabled", false))
		return
	}
	copyInto(d, o.settings.federation, "SamlSPKeyAndCertificateChain")
}

func writeGuest(o *org, d *node) error {
	o.settings.guest = kept(d)
	return nil
}

func fillGuest(_ *Server, o *org, d *node) {
	if o.settings.guest == nil {
		add(d, boolean("AllowDomainSettings", false))
		return
	}
	copyInto(d, o.settings.guest, "DomainPassword")
}
