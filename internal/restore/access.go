package restore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/beevik/etree"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/vcd"
)

// applyAccess sets the owner and the access list; last, because the owner
// may be one who must not write the rest.
func (r *run) applyAccess(ctx context.Context) error {
	if err := r.applyOwner(ctx); err != nil {
		return err
	}
	return r.applyAccessList(ctx)
}

func (r *run) applyOwner(ctx context.Context) error {
	if r.plan.Owner.Href != "" && r.vapp.Owner.Name != r.plan.Owner.Name {
		if err := r.VCD.SetOwner(ctx, r.vapp.Href, r.plan.Owner.Href); err != nil {
			return fmt.Errorf("owner %s: %w", r.plan.Owner.Name, err)
		}
	}
	return nil
}

func (r *run) applyAccessList(ctx context.Context) error {
	doc, err := r.docs.Tree("vcd/controlAccess.xml")
	if err != nil || doc == nil {
		return err
	}
	if err := r.mapSubjects(ctx, doc.Root()); err != nil {
		return err
	}
	document.Strip(doc.Root(), "Link")
	document.RemoveAttribute(doc.Root(), "href")
	document.RemoveAttribute(doc.Root(), "type")
	body, err := document.Encode(doc)
	if err != nil {
		return err
	}
	if err := r.VCD.SetControlAccess(ctx, r.vapp.Href, body); err != nil {
		return fmt.Errorf("access list: %w", err)
	}
	return nil
}

// mapSubjects points the entries of an access list to the users that bear
// the names now; an entry whose user is gone is left out, and said.
func (r *run) mapSubjects(ctx context.Context, root *etree.Element) error {
	settings := document.Find(root, "AccessSettings")
	if settings == nil {
		return nil
	}
	for _, s := range document.FindAll(settings, "AccessSetting") {
		subject := document.Find(s, "Subject")
		if subject == nil {
			continue
		}
		if !strings.Contains(document.Attribute(subject, "href"), "/user/") {
			r.mapGroup(subject)
			continue
		}
		name := document.Attribute(subject, "name")
		user, err := r.VCD.UserByName(ctx, r.plan.Org.ID, name)
		if errors.Is(err, vcd.ErrNoUser) {
			r.warn("", fmt.Sprintf("user %s is gone, and so is the access of that user", name))
			settings.RemoveChild(s)
			continue
		}
		if err != nil {
			return fmt.Errorf("user %s: %w", name, err)
		}
		document.SetAttribute(subject, "href", user.Href)
		document.RemoveAttribute(subject, "id")
	}
	if len(settings.ChildElements()) == 0 {
		root.RemoveChild(settings)
	}
	return nil
}

// mapGroup points an entry to the group that the plan found for it.
func (r *run) mapGroup(subject *etree.Element) {
	for _, s := range r.plan.Access {
		if s.To != nil && s.Kind == "group" && s.To.Name == document.Attribute(subject, "name") {
			document.SetAttribute(subject, "href", s.To.Href)
			document.RemoveAttribute(subject, "id")
		}
	}
}
