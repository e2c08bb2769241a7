package director

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vmware/govmomi/object"
)

// now is the time of the installation.
func (s *Server) now() time.Time { return s.cfg.Now().Add(time.Duration(s.ahead.Load())) }

// leaseRetry is how long a lease whose end failed is left alone.
const leaseRetry = time.Minute

// Advance moves the installation's clock on. Leases that end meanwhile end one
// after the other, each at its time: it returns when that is done. Sessions and
// delays follow the system's clock and do not notice.
func (s *Server) Advance(d time.Duration) {
	for target := s.now().Add(d); ; {
		next := s.nextExpiry(target)
		if next.IsZero() {
			s.leap(target)
			return
		}
		s.leap(next)
		tasks := s.expireLeases()
		if len(tasks) == 0 {
			s.leap(target)
			return
		}
		for _, t := range tasks {
			select {
			case <-t.done:
			case <-s.ctx.Done():
				return
			}
		}
	}
}

// leap moves the clock to a time that is not past.
func (s *Server) leap(to time.Time) {
	if d := to.Sub(s.now()); d > 0 {
		s.ahead.Add(int64(d))
	}
}

// nextExpiry is when the first lease ends that does so before a time.
func (s *Server) nextExpiry(before time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	var first time.Time
	for _, a := range s.leased() {
		at := a.leaseEnd()
		if at.IsZero() || at.After(before) || a.expired || before.Before(a.leaseTried.Add(leaseRetry)) {
			continue
		}
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first
}

// leased are the vApps and the contents of vApp templates.
func (s *Server) leased() []*vapp {
	out := sorted(s.vapps)
	for _, t := range s.templates {
		out = append(out, t.content)
	}
	sortBy(out, func(a, b *vapp) bool { return a.seq < b.seq })
	return out
}

// leaseEnd is when the lease that runs now ends; zero for never.
func (a *vapp) leaseEnd() time.Time {
	if a.status == stateUnresolved || a.status == stateFailed {
		return time.Time{}
	}
	start, seconds := a.storedAt, a.lease.StorageSeconds
	if a.deployed {
		start, seconds = a.deployedAt, a.lease.DeploymentSeconds
	}
	if seconds <= 0 || start.IsZero() {
		return time.Time{}
	}
	return start.Add(time.Duration(seconds) * time.Second)
}

func (s *Server) leasesAlways() {
	defer s.work.Done()
	for pause(s.ctx, s.cfg.LeaseInterval) == nil {
		s.expireLeases()
	}
}

// expireLeases acts on each lease that has ended, as the user "system": the end
// of a runtime lease stops the vApp, that of a storage lease deletes it or marks
// it as expired, as its organization has it (OrgLeaseSettingsType of the API
// reference). Maintenance mode keeps users away, not the installation itself.
func (s *Server) expireLeases() []*task {
	s.mu.Lock()
	defer s.mu.Unlock()
	var tasks []*task
	now := s.now()
	for _, a := range s.leased() {
		end := a.leaseEnd()
		if end.IsZero() || now.Before(end) || a.expired || now.Before(a.leaseTried.Add(leaseRetry)) || s.occupied(a, nil) {
			continue
		}
		a.leaseTried = now
		tasks = append(tasks, s.endLease(a))
	}
	return tasks
}

func (s *Server) endLease(a *vapp) *task {
	o := s.orgOf(a)
	lease := o.lease
	if t := a.template; t != nil {
		return s.endTemplateLease(o, t)
	}
	switch {
	case a.deployed:
		return s.stopAtLeaseEnd(a, lease.PowerOffOnExpiration)
	case lease.DeleteOnStorageExpiration:
		return s.deleteAsSystem(a)
	}
	return s.startAsSystem(s.orgOf(a), "vdcUpdateVapp", "Expiring storage lease of Virtual Application", vappOwner(a), func(context.Context) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		a.expired = true
		return nil
	})
}

// endTemplateLease ends the storage lease of a template, which organizations
// have settings of their own for.
func (s *Server) endTemplateLease(o *org, t *vappTemplate) *task {
	if o.settings.templateDelete {
		return s.startAsSystem(o, "vdcDeleteTemplate", "Deleting Virtual Application Template", vappOwner(t.content), func(ctx context.Context) error {
			return s.destroyTemplate(ctx, t)
		})
	}
	return s.startAsSystem(o, "vdcUpdateTemplate", "Expiring storage lease of Virtual Application Template", vappOwner(t.content), func(context.Context) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		t.content.expired = true
		return nil
	})
}

// stopAtLeaseEnd undeploys a vApp. Its storage lease begins then.
func (s *Server) stopAtLeaseEnd(a *vapp, off bool) *task {
	name, action := "vappUndeploySuspend", "suspend"
	if off {
		name, action = "vappUndeployPowerOff", "powerOff"
	}
	vms := within(a, nil)
	slices.Reverse(vms)
	return s.startAsSystem(s.orgOf(a), name, "Stopping Virtual Application", vappOwner(a), func(ctx context.Context) error {
		err := s.each(ctx, vms, func(ctx context.Context, obj *object.VirtualMachine, _ *vm) error { return setPower(ctx, obj, action) })
		if err != nil {
			return err
		}
		return s.deployed(a, vms, false)
	})
}

func (s *Server) deleteAsSystem(a *vapp) *task {
	return s.startAsSystem(s.orgOf(a), "vdcDeleteVapp", "Deleting Virtual Application", vappOwner(a), func(ctx context.Context) error {
		return s.deleteWhole(ctx, a)
	})
}

// deleteWhole deletes a vApp with its VMs. It runs in a task.
func (s *Server) deleteWhole(ctx context.Context, a *vapp) error {
	s.mu.Lock()
	vms := slices.Clone(a.vms)
	s.mu.Unlock()
	for _, m := range vms {
		if err := s.destroy(ctx, m); err != nil {
			return err
		}
	}
	if err := s.lower(ctx, a); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(a)
	return nil
}

// startAsSystem starts a task of the user "system" in an organization. The
// mutex is held.
func (s *Server) startAsSystem(o *org, name, operation string, owner taskOwner, work func(context.Context) error) *task {
	c := &call{s: s, login: &login{user: s.systemUser(), org: o}}
	return c.start(name, operation, owner, work)
}

// checkExpired refuses what cannot be done to an expired vApp. The links of a
// recorded one leave editing, renewing and deleting it.
func (c *call) checkExpired(a *vapp) error {
	if !a.expired || c.r.Method == "DELETE" || c.r.Method == "PUT" && (c.path("id") == "vapp-"+a.id && strings.HasSuffix(c.r.URL.Path, c.path("id")) ||
		strings.HasSuffix(c.r.URL.Path, "/leaseSettingsSection")) {
		return nil
	}
	return invalidState("The requested operation could not be executed on vApp \"%s\". Its storage lease has expired.", a.name)
}

// putLease sets a vApp's leases. Expiration dates are the server's.
func (c *call) putLease() (*answer, error) {
	a, err := c.onlyVApp(c.change(accessChange))
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "LeaseSettingsSection")
	if err != nil {
		return nil, err
	}
	lease, err := a.lease.read(doc)
	if err != nil {
		return nil, err
	}
	return c.accepted(c.start("vdcUpdateVapp", "Updating Virtual Application", vappOwner(a), func(context.Context) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		a.lease = c.s.orgOf(a).lease.cap(lease)
		a.expired = false
		c.s.renew(a)
		return nil
	})), nil
}

// read takes over what a LeaseSettingsSection says.
func (l Lease) read(doc *node) (Lease, error) {
	if v := value(doc, "DeploymentLeaseInSeconds"); v != "" {
		l.DeploymentSeconds = atoi(v)
	}
	if v := value(doc, "StorageLeaseInSeconds"); v != "" {
		l.StorageSeconds = atoi(v)
	}
	if l.DeploymentSeconds < 0 || l.StorageSeconds < 0 {
		return l, badRequest("A lease cannot be negative.")
	}
	return l, nil
}

// deploymentLease is the runtime lease of a vApp that is deployed: the vApp's
// own, or what the body wants, where 0 stands for the organization's default
// (DeployVAppParamsType of the API reference).
func (s *Server) deploymentLease(a *vapp, doc *node) (int, error) {
	v := attr(doc, "deploymentLeaseSeconds")
	if v == "" {
		return a.lease.DeploymentSeconds, nil
	}
	n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 32)
	if err != nil {
		return 0, invalid("cvc-datatype-valid.1.2.1: '%s' is not a valid value for 'integer'.", v)
	}
	o := s.orgOf(a).lease
	switch {
	case n < 0:
		return 0, badRequest("A lease cannot be negative.")
	case n == 0:
		return o.DeploymentSeconds, nil
	}
	return o.cap(Lease{DeploymentSeconds: int(n)}).DeploymentSeconds, nil
}

// cap shortens a lease to what the organization allows. A longer one is not
// refused, whoever asks for it: go-vcloud-director's Test_Vapp_LeaseUpdate and
// the documentation of Terraform's vcd_vapp tell of the organization's maximum.
func (o OrgLease) cap(l Lease) Lease {
	if beyond(l.DeploymentSeconds, o.DeploymentSeconds) {
		l.DeploymentSeconds = o.DeploymentSeconds
	}
	if beyond(l.StorageSeconds, o.StorageSeconds) {
		l.StorageSeconds = o.StorageSeconds
	}
	return l
}

// beyond compares leases, whose 0 is for ever.
func beyond(lease, limit int) bool { return limit > 0 && (lease == 0 || lease > limit) }

// renew starts the leases of a vApp anew.
func (s *Server) renew(a *vapp) {
	a.leaseTried = time.Time{}
	a.storedAt, a.deployedAt = s.now(), time.Time{}
	if a.deployed {
		a.storedAt, a.deployedAt = time.Time{}, s.now()
	}
}

// expireNow ends the storage leases of all vApps of an organization that are
// stopped and have one (POST-ExpireStorageLeaseOfVApps).
func (c *call) expireNow() (*answer, error) {
	o, err := c.theOrg()
	if err != nil {
		return nil, err
	}
	if !c.orgAdmin(o.id) {
		return nil, noRight("Organization: Edit Leases Policy", o.id)
	}
	return c.accepted(c.start("orgExpireVappsStorageLease", "Expiring storage leases of", taskOwner{"org", o.id, o.name}, func(ctx context.Context) error {
		c.s.mu.Lock()
		var stopped []*vapp
		for _, a := range sorted(c.s.vapps) {
			if c.s.orgOf(a) == o && !a.deployed && a.lease.StorageSeconds > 0 && a.leaseEnd() != (time.Time{}) && !c.s.occupied(a, nil) {
				stopped = append(stopped, a)
			}
		}
		remove := o.lease.DeleteOnStorageExpiration
		c.s.mu.Unlock()
		for _, a := range stopped {
			if remove {
				if err := c.s.deleteWhole(ctx, a); err != nil {
					return err
				}
				continue
			}
			c.s.mu.Lock()
			a.expired = true
			c.s.mu.Unlock()
		}
		return nil
	})), nil
}

func leaseRoutes() []route {
	return []route{
		{pattern: "POST /api/admin/org/{id}/settings/vAppLeaseSettings/action/expireVAppsStorageLease", handle: (*call).expireNow},
	}
}
