package vsphere

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	// keepAlive is well below vCenter's session timeout, 30 minutes as
	// delivered.
	keepAlive = 5 * time.Minute
	// readAttempts bounds how often a read is made when connections fail.
	readAttempts = 5
)

// A session is a RoundTripper that logs in again when vCenter has dropped the
// session, and repeats reads when the connection fails.
type session struct {
	base     *soap.Client
	manager  types.ManagedObjectReference
	reader   types.ManagedObjectReference // the property collector
	user     string
	password string
	pause    func(attempt int) time.Duration

	mu     sync.Mutex
	logins int // how often this session has logged in
	closed bool
}

// RoundTrip implements soap.RoundTripper.
func (s *session) RoundTrip(ctx context.Context, req, res soap.HasFault) error {
	s.mu.Lock()
	seen := s.logins
	s.mu.Unlock()
	err := s.send(ctx, req, res)
	if !isFault[*types.NotAuthenticated](err) && (err != nil || !withheld(res)) {
		return err
	}
	// vCenter did nothing but look for the session: any call may be repeated.
	if lerr := s.login(ctx, seen); lerr != nil {
		return lerr
	}
	reset(res)
	return s.send(ctx, req, res)
}

// withheld reports whether a read succeeded but for the properties, each of
// which is missing because there is no session.
func withheld(res soap.HasFault) bool {
	var objects []types.ObjectContent
	switch b := res.(type) {
	case *methods.RetrievePropertiesBody:
		if b.Res != nil {
			objects = b.Res.Returnval
		}
	case *methods.RetrievePropertiesExBody:
		if b.Res != nil && b.Res.Returnval != nil {
			objects = b.Res.Returnval.Objects
		}
	}
	for _, o := range objects {
		for _, m := range o.MissingSet {
			if _, ok := m.Fault.Fault.(*types.NotAuthenticated); ok {
				return true
			}
		}
	}
	return false
}

// send makes one call, and makes it again on a failed connection where doing
// it twice cannot do harm.
func (s *session) send(ctx context.Context, req, res soap.HasFault) error {
	for attempt := 1; ; attempt++ {
		err := s.base.RoundTrip(ctx, req, res)
		if err == nil || attempt == readAttempts || !isRead(req) || !temporary(err) {
			return err
		}
		if serr := sleep(ctx, s.pause(attempt)); serr != nil {
			return err
		}
		reset(res)
	}
}

// login logs in unless somebody else has since the caller looked.
func (s *session) login(ctx context.Context, seen int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.New("session closed")
	}
	if s.logins != seen {
		return nil
	}
	_, err := methods.Login(ctx, s.base, &types.Login{
		This: s.manager, UserName: s.user, Password: s.password, Locale: "en_US",
	})
	if err != nil {
		return err
	}
	s.logins++
	return nil
}

// renew makes sure that vCenter knows the session.
func (s *session) renew(ctx context.Context) error {
	s.mu.Lock()
	seen := s.logins
	s.mu.Unlock()
	if s.alive(ctx) {
		return nil
	}
	return s.login(ctx, seen)
}

func (s *session) alive(ctx context.Context) bool {
	res, err := methods.RetrievePropertiesEx(ctx, s.base, &types.RetrievePropertiesEx{
		This: s.reader,
		SpecSet: []types.PropertyFilterSpec{{
			ObjectSet: []types.ObjectSpec{{Obj: s.manager}},
			PropSet:   []types.PropertySpec{{Type: "SessionManager", PathSet: []string{"currentSession"}}},
		}},
	})
	if err != nil {
		return !isFault[*types.NotAuthenticated](err) // a dead line is not a dead session
	}
	return res.Returnval != nil && len(res.Returnval.Objects) == 1 && len(res.Returnval.Objects[0].PropSet) == 1
}

// keep renews the session now and then until ctx ends.
func (s *session) keep(ctx context.Context, warn func(error)) {
	t := time.NewTicker(keepAlive)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if err := s.renew(ctx); err != nil && ctx.Err() == nil {
				warn(err)
			}
		}
	}
}

// logout ends the session for good.
func (s *session) logout(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	_, err := methods.Logout(ctx, s.base, &types.Logout{This: s.manager})
	if isFault[*types.NotAuthenticated](err) {
		return nil
	}
	return err
}

// reset empties a response: a second answer decoded over a first would add to
// its lists and keep its fault.
func reset(res soap.HasFault) { reflect.ValueOf(res).Elem().SetZero() }

// isRead reports whether a call changes nothing in vCenter.
func isRead(req soap.HasFault) bool {
	switch req.(type) {
	case *methods.RetrievePropertiesBody, *methods.RetrievePropertiesExBody,
		*methods.RetrieveServiceContentBody, *methods.QueryChangedDiskAreasBody,
		*methods.FindByInventoryPathBody, *methods.FindChildBody, *methods.CurrentTimeBody:
		return true
	}
	return false
}

// temporary reports whether the same call may succeed a moment later.
func temporary(err error) bool {
	var u *url.Error
	if errors.As(err, &u) {
		switch u.Err.Error() { // govmomi keeps the HTTP status in the text alone
		case status(http.StatusBadGateway), status(http.StatusServiceUnavailable), status(http.StatusGatewayTimeout):
			return true
		}
	}
	var op *net.OpError
	return errors.As(err, &op) && !errors.Is(err, ErrUntrusted) && op.Op != "remote error" ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.ECONNREFUSED)
}

func status(code int) string {
	return strconv.Itoa(code) + " " + http.StatusText(code)
}

// backoff grows from 200 ms to 5 s.
func backoff(attempt int) time.Duration {
	return min(200*time.Millisecond<<min(attempt-1, 5), 5*time.Second)
}

// sleep waits, or returns the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
