// Package app wires the parts together: from a configuration to clients,
// repositories, transports and runs. It is the only place that does.
//
// An App connects when something is asked of it, and only to what that
// needs; Close ends every session it began.
package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"
	"sync"

	"github.com/vappvault/vappvault/internal/config"
	"github.com/vappvault/vappvault/internal/journal"
	"github.com/vappvault/vappvault/internal/limit"
	"github.com/vappvault/vappvault/internal/progress"
	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/vcd"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// ErrPartial says that some of what was asked for was done and some was not.
var ErrPartial = errors.New("done in part")

// ErrNotAsItWas says of a restore that is ErrPartial that what it made is not
// all that the restore point's vApp was.
var ErrNotAsItWas = errors.New("restored, but not as it was")

// ErrPointPartial says that a restore point was made which is not complete.
var ErrPointPartial = errors.New("something is missing in a restore point")

// ErrSiteLeftOut says that a site could not be looked at, and others could.
var ErrSiteLeftOut = errors.New("a site was left out")

// Options are what an App is made from.
type Options struct {
	Config   *config.Config
	Logger   *slog.Logger
	Progress progress.Func
	Version  string
	// Hook, where set, is called after each journalled or outside step of
	// a run; tests use it to stop there.
	Hook func(step string)
}

// An App does what the commands ask for.
type App struct {
	Options
	limits *limit.Limits

	mu      sync.Mutex
	sites   map[string]*site
	root    *repository.Root
	journal *journal.Journal
}

// A site is one vCD and its vCenters, connected.
type site struct {
	config.Site
	vcd     *vcd.Client
	servers []vcd.VimServer

	mu       sync.Mutex
	vcenters map[string]*vsphere.Client // by instance UUID
}

// New makes an App. It connects to nothing yet.
func New(o Options) *App {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &App{Options: o, limits: limitsOf(o.Config), sites: map[string]*site{}}
}

// Close ends all sessions and closes what is open.
func (a *App) Close(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var errs []error
	for id, s := range a.sites {
		for _, c := range s.vcenters {
			errs = append(errs, wrap(c.Close(ctx), "site %s: log out of %s", id, c.URL().Host))
		}
		errs = append(errs, wrap(s.vcd.Close(ctx), "site %s: log out", id))
	}
	if a.journal != nil {
		errs = append(errs, a.journal.Close())
	}
	if a.root != nil {
		errs = append(errs, a.root.Close(ctx))
	}
	a.sites, a.journal, a.root = map[string]*site{}, nil, nil
	return errors.Join(errs...)
}

func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}

// site connects to a site of the configuration.
func (a *App) site(ctx context.Context, id string) (*site, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.sites[id]; s != nil {
		return s, nil
	}
	conf, ok := a.Config.Site(id)
	if !ok {
		return nil, fmt.Errorf("site %s: not in the configuration", id)
	}
	password, err := conf.Password.Read(ctx)
	if err != nil {
		return nil, fmt.Errorf("site %s: %w", id, err)
	}
	client, err := vcd.Connect(ctx, vcd.Options{
		URL: conf.URL, User: conf.User, Password: password, Logger: a.Logger,
		TLS: vcd.TLS{CAFile: conf.CA, Fingerprint: conf.Fingerprint}, UserAgent: "vappvault/" + a.Version,
	})
	if err != nil {
		return nil, fmt.Errorf("site %s: %w", id, err)
	}
	s := &site{Site: conf, vcd: client, vcenters: map[string]*vsphere.Client{}}
	a.sites[id] = s
	return s, nil
}

// eachSite looks at sites of the configuration, one after the other. One that
// cannot be connected to or looked at does not keep it from the others: its
// error is then ErrSiteLeftOut. With vcd.ErrShort look saw what a site shows.
// Where no site could be looked at the error is neither: see inPart.
func (a *App) eachSite(ctx context.Context, ids []string, look func(*site) error) error {
	var short, leftOut []error
	for _, id := range ids {
		s, err := a.site(ctx, id)
		if err == nil {
			err = look(s)
		}
		switch {
		case ctx.Err() != nil:
			return cmp.Or(err, ctx.Err())
		case errors.Is(err, vcd.ErrShort):
			short = append(short, err)
		case err != nil:
			leftOut = append(leftOut, err)
		}
	}
	if len(leftOut) == len(ids) {
		return errors.Join(leftOut...)
	}
	for _, err := range leftOut {
		short = append(short, fmt.Errorf("%w: %w", ErrSiteLeftOut, err))
	}
	return errors.Join(short...)
}

// inPart tells whether something was seen all the same, with such an error.
func inPart(err error) bool {
	return errors.Is(err, vcd.ErrShort) || errors.Is(err, ErrSiteLeftOut)
}

func (a *App) siteIDs() []string {
	var out []string
	for _, conf := range a.Config.Sites {
		out = append(out, conf.ID)
	}
	return out
}

// vsphereByHref connects to the vCenter that vCD knows by the href of its
// vimServer, and makes sure that it is that one.
func (a *App) vsphereByHref(ctx context.Context, s *site, href string) (*vsphere.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.servers == nil {
		servers, err := s.vcd.VimServers(ctx)
		if err != nil {
			return nil, fmt.Errorf("list vCenters: %w", err)
		}
		s.servers = servers
	}
	for _, server := range s.servers {
		if vcd.URN(server.Href) == vcd.URN(href) {
			return a.vcenter(ctx, s, server.UUID, server.Name)
		}
	}
	return nil, fmt.Errorf("vCenter %s: vCD does not know it", href)
}

// vsphereByUUID connects to the vCenter with an instance UUID.
func (a *App) vsphereByUUID(ctx context.Context, s *site, uuid string) (*vsphere.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return a.vcenter(ctx, s, uuid, uuid)
}

// vcenter connects to the vCenters of the configuration until it finds the
// one with the instance UUID. The lock is held.
func (a *App) vcenter(ctx context.Context, s *site, uuid, name string) (*vsphere.Client, error) {
	if c := s.vcenters[uuid]; c != nil {
		return c, nil
	}
	var errs []error
	for _, conf := range s.VCenters {
		if s.connected(conf.URL) {
			continue
		}
		password, err := conf.Password.Read(ctx)
		if err != nil {
			return nil, fmt.Errorf("vCenter %s: %w", conf.URL, err)
		}
		c, err := vsphere.Connect(ctx, vsphere.Options{
			URL: conf.URL, User: conf.User, Password: password, Logger: a.Logger,
			TLS: vsphere.TLS{CAFile: conf.CA, Fingerprint: conf.Fingerprint},
		})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		s.vcenters[c.InstanceUUID()] = c
		if c.InstanceUUID() == uuid {
			return c, nil
		}
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("vCenter %s: %w", name, errors.Join(errs...))
	}
	return nil, fmt.Errorf("vCenter %s: no vCenter of site %s in the configuration has the instance id %s", name, s.ID, uuid)
}

func (s *site) connected(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	for _, c := range s.vcenters {
		if c.URL().Host == u.Host {
			return true
		}
	}
	return false
}

// location returns where the repository is.
func (a *App) location() repository.Location {
	return repository.Location{Path: strings.TrimPrefix(a.Config.Repository.URL, "file://")}
}

// open opens the repository root and, beside it, the journal, which whatever
// changes something needs.
func (a *App) open(ctx context.Context) (*repository.Root, *journal.Journal, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.openRoot(ctx); err != nil {
		return nil, nil, err
	}
	if a.journal == nil {
		state, err := a.Config.StateFolder(a.root.ID())
		if err != nil {
			return nil, nil, err
		}
		if a.journal, err = journal.Open(ctx, filepath.Join(state, "journal.db")); err != nil {
			return nil, nil, err
		}
	}
	return a.root, a.journal, nil
}

// openRepository opens the repository root alone: what only reads it must not
// fail because of a journal that is damaged.
func (a *App) openRepository(ctx context.Context) (*repository.Root, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	err := a.openRoot(ctx)
	return a.root, err
}

// openRoot opens the repository root unless it is open. The caller holds the
// lock.
func (a *App) openRoot(ctx context.Context) error {
	if a.root != nil {
		return nil
	}
	password, err := a.Config.Repository.Password.Read(ctx)
	if err != nil {
		return fmt.Errorf("repository: %w", err)
	}
	id, err := repository.Identify(a.location())
	if err != nil {
		return err
	}
	state, err := a.Config.StateFolder(id)
	if err != nil {
		return err
	}
	// The repository makes a folder of its id inside the one it is given.
	kopia := state
	if filepath.Base(state) == id {
		kopia = filepath.Dir(state)
	}
	a.root, err = repository.Open(ctx, a.location(), password, repository.Options{StateDir: kopia, Logger: a.Logger})
	return err
}
