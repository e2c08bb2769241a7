package vsphere

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// logoutTime bounds how long Close waits for vCenter.
const logoutTime = 15 * time.Second

// Options say where vCenter is and as whom to go there.
type Options struct {
	URL      string // https://vcenter.example[:port][/sdk]
	User     string
	Password string
	TLS      TLS
	Logger   *slog.Logger // nil: silent
}

// A Client is a session with one vCenter. It is safe for concurrent use.
type Client struct {
	vim     *vim25.Client
	session *session
	log     *slog.Logger
	url     *url.URL
	trust   *trust
	stop    context.CancelFunc
	done    sync.WaitGroup
	pause   func(attempt int) time.Duration

	datastores cache[types.ManagedObjectReference, datastore]
	networks   cache[types.ManagedObjectReference, string]
}

// Connect logs in. It fails with ErrUntrusted or ErrLogin where that is why.
// Whoever connects must Close: vCenter keeps a limited number of sessions.
func Connect(ctx context.Context, o Options) (*Client, error) {
	u, err := serviceURL(o.URL)
	if err != nil {
		return nil, err
	}
	c, err := connect(ctx, u, o)
	if err != nil {
		return nil, fmt.Errorf("vCenter %s: %w", u, explain(err))
	}
	return c, nil
}

func connect(ctx context.Context, u *url.URL, o Options) (*Client, error) {
	t, err := newTrust(u, o.TLS)
	if err != nil {
		return nil, err
	}
	sc := soap.NewClient(u, false)
	sc.UserAgent = "vappvault"
	t.install(sc)
	vc, err := vim25.NewClient(ctx, sc)
	if err != nil {
		return nil, plainURLError(err)
	}
	if vc.ServiceContent.SessionManager == nil {
		return nil, fmt.Errorf("%w: no session manager", ErrNotSupported)
	}
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	c := &Client{vim: vc, log: log.With("vcenter", u.Host), url: u, trust: t, pause: backoff}
	c.session = &session{
		base: sc, manager: *vc.ServiceContent.SessionManager, reader: vc.ServiceContent.PropertyCollector,
		user: o.User, password: o.Password, pause: c.wait,
	}
	vc.RoundTripper = c.session
	if err := c.session.login(ctx, 0); err != nil {
		return nil, fmt.Errorf("log in as %s: %w", o.User, explain(plainURLError(err)))
	}
	alive, stop := context.WithCancel(context.WithoutCancel(ctx))
	c.stop = stop
	c.done.Go(func() {
		c.session.keep(alive, func(err error) { c.log.Warn("session could not be renewed", "error", explain(err)) })
	})
	return c, nil
}

// serviceURL completes what a configuration file says: https and /sdk. It
// refuses credentials, which would find their way into messages.
func serviceURL(s string) (*url.URL, error) {
	if s == "" {
		return nil, errors.New("vCenter: no URL")
	}
	if !strings.Contains(s, "://") {
		s = "https://" + s
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, errors.New("vCenter: URL cannot be parsed") // it may hold a password
	}
	switch {
	case u.User != nil:
		return nil, fmt.Errorf("vCenter %s: credentials do not belong in the URL", u.Host)
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return nil, fmt.Errorf("vCenter %s: URL must be https://HOST[:PORT]/sdk", s)
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = vim25.Path
	}
	return u, nil
}

// Close logs out, whatever became of ctx. Calling it twice does no harm.
func (c *Client) Close(ctx context.Context) error {
	c.stop()
	c.done.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), logoutTime)
	defer cancel()
	err := c.session.logout(ctx)
	c.vim.CloseIdleConnections()
	if err != nil {
		return fmt.Errorf("vCenter %s: log out: %w", c.url, explain(plainURLError(err)))
	}
	return nil
}

// InstanceUUID is what tells this vCenter from every other, in lower case.
func (c *Client) InstanceUUID() string {
	return strings.ToLower(c.vim.ServiceContent.About.InstanceUuid)
}

// URL is where vCenter is, without credentials.
func (c *Client) URL() *url.URL {
	u := *c.url
	return &u
}

// Client is the session as govmomi sees it, for transports: its cookies, its
// trust in certificates, and calls that renew the session.
func (c *Client) Client() *vim25.Client { return c.vim }

// Renew makes sure that vCenter still knows the session, and logs in again if
// not. HTTP requests beside the API, to /folder, are answered with 401 when
// the session is gone and cannot renew it themselves.
func (c *Client) Renew(ctx context.Context) error {
	if err := c.session.renew(ctx); err != nil {
		return fmt.Errorf("vCenter %s: renew session: %w", c.url, explain(plainURLError(err)))
	}
	return nil
}

// wait is how long to pause before the given attempt is followed by another.
func (c *Client) wait(attempt int) time.Duration { return c.pause(attempt) }

// get reads properties of one object into dst. Errors are explained.
func (c *Client) get(ctx context.Context, ref types.ManagedObjectReference, dst any, props ...string) error {
	return explain(property.DefaultCollector(c.vim).RetrieveOne(ctx, ref, props, dst))
}

func ref(kind, value string) types.ManagedObjectReference {
	return types.ManagedObjectReference{Type: kind, Value: value}
}

// A cache remembers what seldom changes, such as the names of datastores.
type cache[K comparable, V any] struct {
	mu sync.Mutex
	m  map[K]V
}

func (c *cache[K, V]) load(k K) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.m[k]
	return v, ok
}

func (c *cache[K, V]) store(k K, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil {
		c.m = map[K]V{}
	}
	c.m[k] = v
}
