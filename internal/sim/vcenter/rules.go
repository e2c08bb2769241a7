package vcenter

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/fault"
)

// ServeHTTP answers a call as the rules of Config.Rules have it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !readSOAP(w, r) {
		return
	}
	s.serveRuled(w, r, s.cfg.Label, s.dispatch)
}

// serveRuled is serve as the rules for a server have it.
func (s *Server) serveRuled(w http.ResponseWriter, r *http.Request, label string, serve http.HandlerFunc) {
	if s.cfg.Rules == nil {
		serve(w, r)
		return
	}
	c := fault.Call{Server: label, Operation: r.Method, Object: r.URL.RequestURI(), User: s.userOf(r)}
	switch {
	case isFolder(r):
		c.Service, c.Object = fault.Folder, r.URL.Path
	case strings.HasPrefix(r.URL.Path, nfcPath):
		c.Service = fault.NFC
	case r.Method == http.MethodPost && r.URL.Path == s.url.Path:
		c.Service = fault.VSphere
		c.Operation, c.Object = peek(r)
	default:
		serve(w, r)
		return
	}
	c.Name = s.nameOfVM(c.Object)
	s.cfg.Rules.Serve(w, r, &c, func(w http.ResponseWriter, h *fault.Hit) { s.refuseFor(w, r, c.Service, h) }, serve)
}

func isFolder(r *http.Request) bool {
	return r.URL.Path == "/folder" || strings.HasPrefix(r.URL.Path, "/folder/")
}

// peek reads the method and the object of a SOAP call, and leaves the body to
// be read again.
func peek(r *http.Request) (method, object string) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxSOAP))
	r.Body = io.NopCloser(bytes.NewReader(body))
	if err != nil {
		return "", ""
	}
	d := xml.NewDecoder(bytes.NewReader(body))
	inBody := false
	for {
		t, err := d.Token()
		if err != nil {
			return method, object
		}
		e, is := t.(xml.StartElement)
		switch {
		case !is:
		case !inBody:
			inBody = e.Name.Local == "Body"
		case method == "":
			method = e.Name.Local
		case e.Name.Local == "_this":
			_ = d.DecodeElement(&object, &e)
			return method, strings.TrimSpace(object)
		}
	}
}

// userOf is who makes a call; empty where nobody is logged in.
func (s *Server) userOf(r *http.Request) string {
	if user, _, is := r.BasicAuth(); is {
		return user
	}
	cookie, err := r.Cookie(soap.SessionCookieName)
	if err != nil {
		return ""
	}
	m, is := s.newContext().Session.Get(s.model.Map().SessionManager().Reference()).(*simulator.SessionManager)
	if !is {
		return ""
	}
	for _, session := range m.SessionList {
		if session.Key == strings.Trim(cookie.Value, `"`) {
			return session.UserName
		}
	}
	return ""
}

// refuseFor writes the error of a rule: a SOAP fault, or a status of the HTTP
// services.
func (s *Server) refuseFor(w http.ResponseWriter, r *http.Request, service string, h *fault.Hit) {
	if h.Logout {
		s.logOut(r)
	}
	status := h.Status
	if service != fault.VSphere || h.Code == "" && status >= http.StatusBadGateway {
		if h.Logout && status == 0 {
			status = http.StatusUnauthorized
		}
		if status == 0 {
			status = http.StatusInternalServerError
		}
		message := h.Message
		if message == "" {
			message = http.StatusText(status)
		}
		http.Error(w, message, status)
		return
	}
	kind := h.Code
	if kind == "" && h.Logout {
		kind = "NotAuthenticated"
	}
	f, err := faultNamed(kind)
	if err != nil {
		f = &types.SystemError{Reason: err.Error()}
	}
	message := h.Message
	if message == "" {
		message = "A fault was asked for."
	}
	writeFault(w, message, f)
}

// faultNamed makes a fault of a type of the vSphere API; SystemError without a
// name.
func faultNamed(name string) (types.BaseMethodFault, error) {
	if name == "" {
		return &types.SystemError{Reason: "a fault was asked for"}, nil
	}
	t, found := types.TypeFunc()(name)
	if !found {
		return nil, fmt.Errorf("vSphere has no type %s", name)
	}
	f, is := reflect.New(t).Interface().(types.BaseMethodFault)
	if !is {
		return nil, fmt.Errorf("%s is not a fault", name)
	}
	return f, nil
}

// logOut ends the session of a request.
func (s *Server) logOut(r *http.Request) {
	cookie, err := r.Cookie(soap.SessionCookieName)
	if err != nil {
		return
	}
	s.terminate(strings.Trim(cookie.Value, `"`))
}

// terminate ends a session and what belongs to it.
func (s *Server) terminate(key string) {
	s.endLeases(key)
	ctx := s.newContext()
	m := s.model.Map().SessionManager()
	ctx.WithLock(m, func() {
		m.TerminateSession(ctx, &types.TerminateSession{This: m.Self, SessionId: []string{key}})
	})
}

// ruled is f as the rules for tasks have it.
func (s *Server) ruled(name string, entity types.ManagedObjectReference, f taskFunc) taskFunc {
	if s.cfg.Rules == nil {
		return f
	}
	return func(ctx *simulator.Context) (types.AnyType, error) {
		c := fault.Call{Time: time.Now(), Service: fault.VSphereTask, Server: s.cfg.Label, Operation: name, Object: entity.Value, Name: s.nameOfVM(entity.Value)}
		if ctx.Session != nil {
			c.User = ctx.Session.UserName
		}
		h := s.cfg.Rules.Match(c)
		if h != nil {
			c.Rule = h.ID
		}
		defer func() {
			c.Took = fault.Duration(time.Since(c.Time))
			s.cfg.Rules.Record(c)
		}()
		if h == nil {
			return f(ctx)
		}
		var result types.AnyType
		if h.After {
			var err error
			if result, err = f(ctx); err != nil {
				return nil, err
			}
		}
		if err := h.Wait(s.background); err != nil {
			return nil, err
		}
		if h.Outcome != "" || h.Refuses() {
			kind, err := faultNamed(h.Code)
			if err != nil {
				return nil, err
			}
			if h.Outcome == "canceled" {
				kind = &types.RequestCanceled{}
			}
			return nil, refuse(kind, "%s", cmp.Or(h.Message, "The operation failed."))
		}
		if h.After {
			return result, nil
		}
		return f(ctx)
	}
}
