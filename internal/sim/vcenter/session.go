package vcenter

import (
	"net/http"
	"strings"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// sessionCalls answers calls of the SessionManager in vcsim's stead. vcsim
// makes a manager for every call of every session, so that those calls are
// sent here instead of being wrapped.
type sessionCalls struct {
	mo.SessionManager
	s *Server
}

var sessionCallsRef = types.ManagedObjectReference{Type: "SessionManagerCalls", Value: "SessionManagerCalls"}

func newTicketID() string { return "cst-VCT-" + uuid.NewString() }

// full tells whether a request has no session and there is room for no
// other: a vCenter at its config.vmacore.soap.maxSessionCount answers 503
// even to RetrieveServiceContent (Broadcom KB 375546).
func (s *Server) full(r *http.Request) bool {
	if s.cfg.MaxSessions <= 0 || r.Method != http.MethodPost || !strings.HasPrefix(r.URL.Path, s.url.Path) {
		return false
	}
	sessions := s.sessions()
	if len(sessions)+s.disks.sessions("") < s.cfg.MaxSessions {
		return false
	}
	c, err := r.Cookie(soap.SessionCookieName)
	if err != nil {
		return true
	}
	for _, session := range sessions {
		if session.Key == strings.Trim(c.Value, `"`) {
			return false
		}
	}
	return true
}

// sessions lists those that have not ended.
func (s *Server) sessions() []types.UserSession {
	m, ok := s.newContext().Session.Get(s.model.Map().SessionManager().Reference()).(*simulator.SessionManager)
	if !ok {
		return nil
	}
	return m.SessionList
}

// Sessions counts the sessions that have not ended, those of a user or, with
// an empty name, all.
func (s *Server) Sessions(user string) int {
	n := 0
	for _, session := range s.sessions() {
		if user == "" || session.UserName == user {
			n++
		}
	}
	return n + s.disks.sessions(user)
}

// EndSessions ends the sessions of a user, or all, as an administrator or a
// restart of vCenter would: their next call is NotAuthenticated, and the NFC
// leases that they hold end. It returns how many there were.
func (s *Server) EndSessions(user string) int {
	m := s.model.Map().SessionManager()
	n := s.disks.endSessions(user)
	for _, session := range s.sessions() {
		if user != "" && session.UserName != user {
			continue
		}
		body := m.TerminateSession(s.newContext(), &types.TerminateSession{This: m.Self, SessionId: []string{session.Key}})
		if body.Fault() == nil {
			s.endLeases(session.Key)
			n++
		}
	}
	return n
}
