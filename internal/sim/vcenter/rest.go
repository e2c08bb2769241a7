package vcenter

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"path"
	"strings"

	vapi "github.com/vmware/govmomi/vapi/rest"
)

// Paths of the REST API, below /rest or /api.
const (
	restSession     = "/com/vmware/cis/session"
	restTagging     = "/com/vmware/cis/tagging/"
	restSessionHead = "vmware-api-session-id"
)

// restGuard asks users of the REST API for the privileges that its calls
// take: vcsim's own handler knows sessions but no privileges.
type restGuard struct {
	http.Handler
	s *Server
}

func (g *restGuard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost && r.URL.Path == "/api" {
		// vcsim gives a session to whoever asks for one in this way.
		restError(w, http.StatusUnauthorized, "unauthenticated")
		return
	}
	privilege := restNeed(r)
	if privilege != "" {
		user, known := g.user(r)
		if known && g.s.allowed(g.s.newContext(), user, need{privilege, g.s.model.ServiceContent.RootFolder}) != nil {
			restError(w, http.StatusForbidden, "unauthorized")
			return
		}
	}
	g.Handler.ServeHTTP(w, r)
}

func restError(w http.ResponseWriter, status int, name string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"type": "com.vmware.vapi.std.errors." + name, "value": map[string]any{"messages": []string{}}})
}

// restNeed is the privilege that a call takes; "" is for none. Tags are
// vCenter's and not in the inventory: their privileges count at the root.
func restNeed(r *http.Request) string {
	action := r.URL.Query().Get("~action")
	if strings.HasSuffix(r.URL.Path, restSession) || r.Method == http.MethodGet || r.Method == http.MethodHead {
		return ""
	}
	_, what, tagging := strings.Cut(r.URL.Path, restTagging)
	if !tagging {
		base := path.Base(r.URL.Path)
		if r.Method == http.MethodPost && action == "find" && (base == "item" || strings.HasSuffix(base, "library")) {
			return ""
		}
		return administrator
	}
	what, _, _ = strings.Cut(what, "/")
	kind := map[string]string{"category": "Category", "tag": "Tag"}[what]
	switch {
	case r.Method == http.MethodPost && action == "list-tags-for-category" && path.Base(r.URL.Path) != what,
		what == "tag-association" && strings.HasPrefix(action, "list-attached-"):
		return ""
	case what == "tag-association":
		return "InventoryService.Tagging.AttachTag"
	case kind == "":
		return administrator
	case r.Method == http.MethodDelete:
		return "InventoryService.Tagging.Delete" + kind
	case r.Method == http.MethodPost && path.Base(r.URL.Path) == what:
		return "InventoryService.Tagging.Create" + kind
	}
	return "InventoryService.Tagging.Edit" + kind
}

// user is whose session a call is made in; false is for none, which vcsim's
// handler refuses, but for an upload into a library that has one of its own.
func (g *restGuard) user(r *http.Request) (string, bool) {
	id := r.Header.Get(restSessionHead)
	if id == "" {
		if c, err := r.Cookie(restSessionHead); err == nil {
			id = c.Value
		}
	}
	ask, err := http.NewRequestWithContext(context.WithoutCancel(r.Context()), http.MethodGet, vapi.Path+restSession, nil)
	if id == "" || err != nil {
		return "", false
	}
	ask.Header.Set(restSessionHead, id)
	var answer restAnswer
	g.Handler.ServeHTTP(&answer, ask)
	var session struct{ Value *vapi.Session }
	if answer.status != http.StatusOK || json.Unmarshal(answer.Bytes(), &session) != nil || session.Value == nil {
		return "", false
	}
	return session.Value.User, true
}

// A restAnswer is what vcsim's handler answers to a question of the guard.
type restAnswer struct {
	bytes.Buffer
	header http.Header
	status int
}

func (a *restAnswer) Header() http.Header {
	if a.header == nil {
		a.header = http.Header{}
	}
	return a.header
}

func (a *restAnswer) WriteHeader(status int) { a.status = status }
