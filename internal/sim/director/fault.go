package director

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/vappvault/vappvault/internal/sim/fault"
)

// faultCall describes a request for the rules and the log.
func (s *Server) faultCall(r *http.Request, rt route) fault.Call {
	if s.cfg.Faults == nil {
		return fault.Call{}
	}
	f := fault.Call{Service: fault.VCD, Server: s.cfg.Site, Operation: rt.pattern, Object: r.URL.RequestURI()}
	if f.Operation == "" {
		f.Operation = r.Method + " " + r.URL.Path
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.sessions[tokenOf(r)]; l != nil {
		f.User = l.user.name + "@" + l.org.name
	}
	id := uuidIn(r.URL.Path)
	if a := s.vapps[id]; a != nil {
		f.Name = a.name
	} else if m := s.vms[id]; m != nil {
		f.Name = m.name
	}
	return f
}

// refuseFor writes the error of a rule.
func (s *Server) refuseFor(w http.ResponseWriter, r *http.Request, h *fault.Hit) {
	status := h.Status
	if h.Logout {
		s.mu.Lock()
		delete(s.sessions, tokenOf(r))
		s.mu.Unlock()
		status = or(status, http.StatusUnauthorized)
	}
	status = or(status, http.StatusInternalServerError)
	if status >= http.StatusBadGateway && h.Code == "" {
		// Not vCD speaks, but what stands in front of its cells.
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		_, _ = w.Write([]byte("<html><body><h1>" + num(status) + " " + http.StatusText(status) + "</h1></body></html>\n"))
		return
	}
	c := &call{s: s, r: r, id: newID()}
	if c.negotiate() != nil {
		c.version = ""
	}
	a := c.failed(refuse(status, or(h.Code, codeOf(status)), "%s", or(h.Message, http.StatusText(status))))
	typ, body := c.render(a)
	w.Header().Set("X-VMWARE-VCLOUD-REQUEST-ID", c.id)
	w.Header().Set("Content-Type", typ)
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// codeOf is the minorErrorCode that goes with a status when nothing better is
// known.
func codeOf(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "UNAUTHORIZED"
	case http.StatusForbidden:
		return "ACCESS_TO_RESOURCE_IS_FORBIDDEN"
	case http.StatusConflict:
		return "INVALID_STATE"
	case http.StatusInternalServerError:
		return "INTERNAL_SERVER_ERROR"
	case http.StatusTooManyRequests:
		return "TOO_MANY_REQUESTS"
	}
	return strings.ToUpper(strings.ReplaceAll(http.StatusText(status), " ", "_"))
}

// performFor does a task's work as the rules have it. The outcome is empty
// where it is the work's own.
func (s *Server) performFor(ctx context.Context, t *task, work func(context.Context) error) (outcome string, err error) {
	if fault.IsOwn(ctx) {
		return "", work(ctx)
	}
	f := fault.Call{Time: time.Now(), Service: fault.VCDTask, Server: s.cfg.Site, Operation: t.name, Object: t.owner.id,
		Name: t.owner.name, User: t.user.name + "@" + t.org.name}
	h := s.cfg.Faults.Match(f)
	if h != nil {
		f.Rule = h.ID
	}
	defer func() {
		f.Took = fault.Duration(time.Since(f.Time))
		s.cfg.Faults.Record(f)
	}()
	if h == nil {
		return "", work(ctx)
	}
	if h.After {
		if err := work(ctx); err != nil {
			return "", err
		}
	}
	if err := h.Wait(ctx); err != nil {
		return "", err
	}
	if h.Outcome != "" || h.Refuses() {
		return or(h.Outcome, "error"), refuse(or(h.Status, http.StatusInternalServerError), or(h.Code, "INTERNAL_SERVER_ERROR"), "%s",
			or(h.Message, "The operation failed."))
	}
	if h.After {
		return "", nil
	}
	return "", work(ctx)
}
