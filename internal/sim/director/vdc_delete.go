package director

import (
	"context"
	"fmt"
)

// deleteVDC deletes a VDC that is disabled and empty; with recursive also what
// is in it, with force whatever state that is in.
func (c *call) deleteVDC() (*answer, error) {
	v, err := c.theVDC()
	if err != nil {
		return nil, err
	}
	force, recursive := c.flag("force"), c.flag("recursive")
	if err := c.mayDeleteVDC(v, force, recursive); err != nil {
		return nil, err
	}
	return c.accepted(c.start("deleteVdc", "Deleting Virtual Datacenter", taskOwner{"vdc", v.id, v.name}, func(ctx context.Context) error {
		return c.s.destroyVDC(ctx, v)
	})), nil
}

// mayDeleteVDC refuses to delete a VDC in the state that it is in.
func (c *call) mayDeleteVDC(v *vdc, force, recursive bool) error {
	if v.enabled && !force {
		return invalidState("The VDC \"%s\" is enabled. Disable it and try again.", v.name)
	}
	if c.s.busyWith(v.id) {
		return busy("com.vmware.vcloud.entity.vdc", v.name)
	}
	in := c.s.inside(v)
	if !recursive && len(in.vapps)+len(in.templates)+len(in.media)+len(in.disks)+c.s.networkCount(v) > 0 {
		return badRequest("The VDC \"%s\" cannot be deleted: it holds %d vApps, %d vApp templates, %d media, %d disks and %d networks.", v.name,
			len(in.vapps), len(in.templates), len(in.media), len(in.disks), c.s.networkCount(v))
	}
	for _, a := range in.vapps {
		if a.deployed && !force {
			return badRequest("The VDC \"%s\" cannot be deleted: vApp \"%s\" is running.", v.name, a.name)
		}
	}
	return nil
}

// A vdcContent is what lies in the storage of a VDC.
type vdcContent struct {
	vapps     []*vapp
	templates []*vappTemplate
	media     []*media
	disks     []*disk
}

func (s *Server) inside(v *vdc) vdcContent {
	var in vdcContent
	for _, a := range sorted(s.vapps) {
		if a.vdc == v.id {
			in.vapps = append(in.vapps, a)
		}
	}
	for _, a := range s.leased() {
		if a.template != nil && a.vdc == v.id {
			in.templates = append(in.templates, a.template)
		}
	}
	for _, m := range sorted(s.media) {
		if m.vdc == v.id {
			in.media = append(in.media, m)
		}
	}
	for _, d := range sorted(s.disks) {
		if d.vdc == v.id {
			in.disks = append(in.disks, d)
		}
	}
	return in
}

// destroyVDC deletes a VDC with all that is in it. VMs go before the disks that
// are attached to them and the media that are in their drives.
func (s *Server) destroyVDC(ctx context.Context, v *vdc) error {
	s.mu.Lock()
	in := s.inside(v)
	s.mu.Unlock()
	for _, a := range in.vapps {
		if err := s.deleteWhole(ctx, a); err != nil {
			return err
		}
	}
	for _, t := range in.templates {
		if err := s.destroyTemplate(ctx, t); err != nil {
			return err
		}
	}
	for _, m := range in.media {
		if err := s.destroyMedia(ctx, m); err != nil {
			return err
		}
	}
	for _, d := range in.disks {
		if err := s.destroyDisk(ctx, d); err != nil {
			return err
		}
	}
	if v.own {
		if err := v.vc.removePlace(ctx, v.pool, v.folder); err != nil {
			return fmt.Errorf("VDC %s: %w", v.name, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropVDC(v)
	return nil
}

// dropVDC forgets a VDC with its storage profiles, networks and edge gateways.
// Those of a VDC group stay as long as it has another VDC.
func (s *Server) dropVDC(v *vdc) {
	for id, p := range s.profiles {
		if p.vdc == v.id {
			delete(s.profiles, id)
		}
	}
	for id, n := range s.nets {
		if n.vdc != v.id {
			continue
		}
		if n.vdc = s.rehome(v, n.group); n.vdc == v.id {
			delete(s.nets, id)
			s.dropDocs(id)
		}
	}
	for id, e := range s.edges {
		if e.vdc != v.id {
			continue
		}
		if e.vdc = s.rehome(v, e.group); e.vdc == v.id {
			delete(s.edges, id)
			s.dropDocs(id)
		}
	}
	for _, k := range s.catalogs {
		k.profiles = keepIf(k.profiles, func(id string) bool { return s.profiles[id] != nil })
	}
	delete(s.vdcs, v.id)
	s.dropOrphanPolicies()
}

// keepIf is the part of a list that passes.
func keepIf(list []string, pass func(string) bool) []string {
	var out []string
	for _, v := range list {
		if pass(v) {
			out = append(out, v)
		}
	}
	return out
}
