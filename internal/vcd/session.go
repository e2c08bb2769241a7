package vcd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Options say where a cloud is and who asks.
type Options struct {
	URL          string // https://host[:port]; a path of /api is dropped
	User         string // name@org; the org System is the provider's
	Password     string
	TLS          TLS
	APIVersion   string // "37.0"; "" takes the highest of 37.0 to 39.1 that both speak
	Logger       *slog.Logger
	UserAgent    string
	PollInterval time.Duration // first wait for a task, growing to 5 s; 0 is 50 ms
	RetryTimeout time.Duration // how long one request may wait for a busy entity or server; 0 is 2 minutes
}

// A Client is a session with one site. It may be used concurrently.
type Client struct {
	site         *url.URL
	http         *http.Client
	user, org    string
	password     string
	provider     bool
	version      string
	agent        string
	log          *slog.Logger
	poll         time.Duration
	retryTimeout time.Duration

	// turn is held by the one that logs in, while others wait for its token.
	turn chan struct{}

	mu      sync.Mutex
	token   string
	session string // URN of the session, to end it
	orgID   string // URN of the org logged in to
	orgName string // as the org writes it
	refused error  // why no further login is tried: a wrong password, or Close

	vdcOrgs sync.Map // href of a VDC -> vdcHome
}

// ErrLogin says that the server did not take the user's name or password.
var ErrLogin = errors.New("wrong user name or password, or no access")

var errClosed = errors.New("the session is closed")

// Connect agrees on an API version and logs in.
func Connect(ctx context.Context, o Options) (*Client, error) {
	c, err := newClient(o)
	if err != nil {
		return nil, fmt.Errorf("vCD %s: %w", o.URL, err)
	}
	if c.version, err = c.negotiate(ctx, o.APIVersion); err != nil {
		return nil, fmt.Errorf("vCD %s: agree on an API version: %w", c.SiteURL(), err)
	}
	if err := c.login(ctx, ""); err != nil {
		return nil, fmt.Errorf("vCD %s: %w", c.SiteURL(), err)
	}
	return c, nil
}

func newClient(o Options) (*Client, error) {
	site, err := url.Parse(strings.TrimSuffix(strings.TrimRight(o.URL, "/"), "/api"))
	if err != nil {
		return nil, errors.New("not a URL")
	}
	if site.Scheme != "https" || site.Host == "" || site.User != nil || strings.Trim(site.Path, "/") != "" {
		return nil, errors.New("not a URL of the form https://host[:port]")
	}
	at := strings.LastIndexByte(o.User, '@')
	if at <= 0 || at == len(o.User)-1 {
		return nil, fmt.Errorf("user %q: not of the form name@org", o.User)
	}
	config, err := o.TLS.config(site.Host)
	if err != nil {
		return nil, err
	}
	c := &Client{
		site: &url.URL{Scheme: site.Scheme, Host: site.Host},
		http: newHTTPClient(config),
		user: o.User[:at], org: o.User[at+1:], password: o.Password,
		agent: cmp.Or(o.UserAgent, "vappvault"),
		log:   o.Logger, poll: o.PollInterval, retryTimeout: o.RetryTimeout,
		turn: make(chan struct{}, 1),
	}
	c.provider = strings.EqualFold(c.org, "System")
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.poll = cmp.Or(c.poll, 50*time.Millisecond)
	c.retryTimeout = cmp.Or(c.retryTimeout, 2*time.Minute)
	return c, nil
}

// APIVersion is the version of the API that the session speaks, "39.1".
func (c *Client) APIVersion() string { return c.version }

// SiteURL is https://host[:port].
func (c *Client) SiteURL() string { return c.site.String() }

// Provider tells whether the session is the system organization's.
func (c *Client) Provider() bool { return c.provider }

// Close ends the session on the server. It is bounded by ctx alone: give it a
// fresh one when the work was cancelled.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	token, session := c.token, c.session
	c.token, c.refused = "", errClosed
	c.mu.Unlock()
	defer c.http.CloseIdleConnections()
	if token == "" {
		return nil
	}
	// sessions/ID since API 33.0, sessions/current since 36.0.
	r := Request{Method: http.MethodDelete, Href: "/cloudapi/1.0.0/sessions/" + cmp.Or(session, "current")}
	answer, err := c.send(ctx, r, token)
	if err != nil {
		return fmt.Errorf("vCD %s: log out: %w", c.SiteURL(), err)
	}
	if answer.Status >= 300 && answer.Status != http.StatusUnauthorized {
		return fmt.Errorf("vCD %s: log out: %w", c.SiteURL(), c.apiError(r, answer))
	}
	return nil
}

func (c *Client) currentToken() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.token
}

// login replaces the token stale. Of many callers with the same stale token
// one logs in, and the others get what it got.
func (c *Client) login(ctx context.Context, stale string) error {
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-c.turn }()
	c.mu.Lock()
	token, refused := c.token, c.refused
	c.mu.Unlock()
	if refused != nil {
		// Asking again with the same password only locks the account.
		return refused
	}
	if token != stale {
		return nil
	}
	answer, err := c.sendLogin(ctx, stale != "")
	if err != nil {
		return fmt.Errorf("log in as %s@%s: %w", c.user, c.org, err)
	}
	return c.takeSession(answer)
}

// sendLogin posts the credentials. A renewal lasts out a server that is
// restarting; the first login tells at once that there is none.
func (c *Client) sendLogin(ctx context.Context, renewal bool) (*Response, error) {
	path := "/cloudapi/1.0.0/sessions"
	if c.provider {
		path += "/provider"
	}
	r := Request{Method: http.MethodPost, Href: path, login: true}
	harmless := r
	harmless.Method = http.MethodGet // as far as repeating goes
	return c.retry(ctx, harmless, func() (*Response, error) {
		if renewal {
			return c.send(ctx, r, "")
		}
		return first(c.send(ctx, r, ""))
	})
}

func (c *Client) takeSession(answer *Response) error {
	r := Request{Method: http.MethodPost, Href: "/cloudapi/1.0.0/sessions"}
	who := fmt.Sprintf("log in as %s@%s", c.user, c.org)
	token := answer.Header.Get("X-VMWARE-VCLOUD-ACCESS-TOKEN")
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case answer.Status == http.StatusUnauthorized || answer.Status == http.StatusForbidden:
		c.refused = fmt.Errorf("%s: %w", who, ErrLogin)
		return c.refused
	case answer.Status >= 300:
		return fmt.Errorf("%s: %w", who, c.apiError(r, answer))
	case token == "":
		return fmt.Errorf("%s: the answer has no access token", who)
	}
	var session struct {
		ID  string
		Org struct{ ID, Name string }
	}
	// Only logging out by id and the org of a tenant depend on the body.
	if err := json.Unmarshal(answer.Body, &session); err == nil {
		if strings.HasPrefix(session.ID, "urn:vcloud:session:") {
			c.session = session.ID
		}
		c.orgID, c.orgName = session.Org.ID, session.Org.Name
	}
	c.token = token
	return nil
}
