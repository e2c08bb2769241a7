package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vcd"
)

// A Subject is an entry of the access list.
type Subject struct {
	Kind string `json:"kind"` // user, group
	Name string `json:"name"` // in the restore point
	// To is who gets the access now; without one the entry is left out.
	To *restorepoint.Ref `json:"to,omitempty"`

	why string
}

// What a Subject is.
const (
	subjectUser  = "user"
	subjectGroup = "group"
)

// planPeople finds the owner and those on the access list: by their names, in
// the organization where the vApp will be.
func planPeople(ctx context.Context, d *Deps, p *Plan, _ *restorepoint.Point) error {
	if err := p.planOwner(ctx, d); err != nil {
		return err
	}
	access, err := d.Docs.Tree("vcd/controlAccess.xml")
	if err != nil || access == nil {
		return err
	}
	settings := document.Find(access.Root(), "AccessSettings")
	if settings == nil {
		return nil
	}
	var groups []vcd.Ref
	for i, s := range document.FindAll(settings, "AccessSetting") {
		subject := document.Find(s, "Subject")
		if subject == nil {
			continue
		}
		entry := Subject{Kind: subjectUser, Name: document.Attribute(subject, "name")}
		if strings.Contains(document.Attribute(subject, "href"), "/group/") {
			entry.Kind = subjectGroup
			if groups == nil {
				if groups, err = d.VCD.OrgGroups(ctx, p.Org.ID); err != nil && !errors.Is(err, vcd.ErrShort) {
					return fmt.Errorf("list groups of organization %s: %w", p.Org.Name, err)
				}
			}
		}
		if err := p.planSubject(ctx, d, &entry, groups); err != nil {
			return err
		}
		if entry.To != nil && slices.ContainsFunc(p.Access[:i], func(o Subject) bool { return o.To != nil && o.To.ID == entry.To.ID }) {
			entry.To = nil // vCD takes each of them once
		}
		p.Access = append(p.Access, entry)
	}
	return nil
}

func (p *Plan) planOwner(ctx context.Context, d *Deps) error {
	owner, err := d.Docs.Tree("vcd/owner.xml")
	if err != nil {
		return err
	}
	name := p.options.Overrides.Owner
	if name == "" && owner != nil {
		name = document.AttributeOf(owner.Root(), "name", "User")
		if to, asked := p.options.Overrides.Users[name]; asked {
			name = to
		}
	}
	if name == "" {
		return nil
	}
	user, err := d.VCD.UserByName(ctx, p.Org.ID, name)
	switch {
	case errors.Is(err, vcd.ErrNoUser) && name == p.options.Overrides.Owner:
		return p.noUser(ctx, d, name, "--owner NAME")
	case errors.Is(err, vcd.ErrNoUser):
		p.add(Conflict{Kind: KindOwnerGone, Object: "user " + name, Resolution: "leave the vApp to the system administrator", Override: "--owner NAME"},
			"owned the vApp and is gone")
		return nil
	case err != nil:
		return fmt.Errorf("user %s: %w", name, err)
	}
	p.Owner = restorepoint.Ref{ID: user.ID, Name: user.Name, Href: user.Href}
	return nil
}

// noUser refuses an override that names nobody.
func (p *Plan) noUser(ctx context.Context, d *Deps, name, override string) error {
	users, err := d.VCD.OrgUsers(ctx, p.Org.ID)
	if err != nil && !errors.Is(err, vcd.ErrShort) {
		return fmt.Errorf("list users of organization %s: %w", p.Org.Name, err)
	}
	var names []string
	for _, u := range users {
		names = append(names, u.Name)
	}
	slices.Sort(names)
	p.add(Conflict{Kind: KindUserGone, Object: "user " + name, Override: override}, "organization %s has no such user, but %s", p.Org.Name, orNone(names))
	return nil
}

func (p *Plan) planSubject(ctx context.Context, d *Deps, s *Subject, groups []vcd.Ref) error {
	name := s.Name
	to, asked := lookup(p.options.Overrides.Users, name)
	override := "--user " + flagName(s.Name) + "=NEW"
	if asked {
		name, s.why = to, "--user "+flagName(s.Name)+"="+flagName(to)
		if to == "" {
			return nil
		}
	}
	if s.Kind == subjectGroup {
		for _, g := range groups {
			if strings.EqualFold(g.Name, name) {
				s.To = &restorepoint.Ref{ID: g.ID, Name: g.Name, Href: g.Href}
				return nil
			}
		}
	} else {
		user, err := d.VCD.UserByName(ctx, p.Org.ID, name)
		if err == nil {
			s.To = &restorepoint.Ref{ID: user.ID, Name: user.Name, Href: user.Href}
			return nil
		}
		if !errors.Is(err, vcd.ErrNoUser) {
			return fmt.Errorf("user %s: %w", name, err)
		}
	}
	if asked {
		return p.noUser(ctx, d, name, override)
	}
	s.why = s.Kind + " " + name + " is gone"
	p.add(Conflict{Kind: KindUserGone, Object: s.Kind + " " + name, Resolution: "leave the access of that " + s.Kind + " out", Override: override},
		"had access to the vApp, and organization %s has none of that name", p.Org.Name)
	return nil
}
