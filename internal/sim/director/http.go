package director

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/vappvault/vappvault/internal/sim/fault"
)

// maxBody bounds a request's body, in bytes.
const maxBody = 16 << 20

// A call is one request under way.
type call struct {
	s       *Server
	r       *http.Request
	id      string // of the request
	login   *login
	version string // "37.1"
	body    []byte
	json    bool // the route speaks JSON too
}

// An answer is what a handler has to say.
type answer struct {
	status int
	typ    string // media type without "+xml"
	doc    *node
	json   any
	header map[string]string
	plain  string // a body that is neither XML nor JSON
}

// A handler answers a call. It runs with the server's mutex held.
type handler func(c *call) (*answer, error)

// A route is a handler and what a request must bring to reach it.
type route struct {
	pattern  string // of http.ServeMux, without a trailing slash
	handle   handler
	public   bool   // no session needed
	provider bool   // system administrators only
	takes    string // media type of the body, without "+xml"; "" for no body, "?" when the handler looks itself
	lenient  bool   // the body may come without a Content-Type
	noAccept bool   // the Accept header is not looked at
	json     bool   // of /api: JSON is spoken too
}

const (
	mediaVCloud = "application/vnd.vmware.vcloud."
	mediaAdmin  = "application/vnd.vmware.admin."
)

func ok(typ string, doc *node) *answer {
	return &answer{status: http.StatusOK, typ: typ, doc: doc}
}

func noContent() *answer { return &answer{status: http.StatusNoContent} }

// handler is the whole API. Paths are matched without their trailing slash.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	for _, rt := range s.routes() {
		mux.HandleFunc(rt.pattern, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, rt) })
	}
	mux.HandleFunc("/transfer/{id}/{name}", func(w http.ResponseWriter, r *http.Request) {
		f := s.faultCall(r, route{pattern: r.Method + " /transfer/{id}/{name}"})
		s.cfg.Faults.Serve(w, r, &f, func(w http.ResponseWriter, h *fault.Hit) { s.refuseFor(w, r, h) }, s.serveTransfer)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.serve(w, r, route{public: true, noAccept: true, handle: otherMethod(mux)})
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = trimSlash(r.URL.Path)
		r.URL.RawPath = trimSlash(r.URL.RawPath)
		w.Header().Set("Date", s.now().UTC().Format(http.TimeFormat))
		mux.ServeHTTP(w, r)
	})
}

// trimSlash is a path without the slashes that say nothing.
func trimSlash(p string) string {
	for strings.Contains(p, "//") {
		p = strings.ReplaceAll(p, "//", "/")
	}
	if len(p) > 1 {
		return strings.TrimRight(p, "/")
	}
	return p
}

// serve answers one request as the rules of faults have it.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, rt route) {
	f := s.faultCall(r, rt)
	s.cfg.Faults.Serve(w, r, &f, func(w http.ResponseWriter, h *fault.Hit) { s.refuseFor(w, r, h) },
		func(w http.ResponseWriter, r *http.Request) { s.answer(w, r, rt) })
}

// answer answers one request and tells the recorder.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, rt route) {
	c := &call{s: s, r: r, id: newID()}
	a, err := c.run(rt)
	if err != nil {
		a = c.failed(err)
	}
	if a.doc != nil && c.wantsJSON(rt) {
		a.json, a.doc = nodeJSON(a.doc), nil
	}
	typ, body := c.render(a)
	h := w.Header()
	h.Set("X-VMWARE-VCLOUD-REQUEST-ID", c.id)
	for k, v := range a.header {
		h.Set(k, v)
	}
	if typ != "" {
		h.Set("Content-Type", typ)
	}
	sent, encoding := s.compressed(r, body)
	if h.Set("Vary", "Accept-Encoding"); encoding != "" {
		h.Set("Content-Encoding", encoding)
	}
	w.WriteHeader(a.status)
	// A client that went away has no use for an error.
	_, _ = w.Write(sent)
	if s.cfg.Recorder != nil {
		user := ""
		if c.login != nil {
			user = c.login.user.name + "@" + c.login.org.name
		}
		s.cfg.Recorder(Exchange{
			Method: r.Method, Path: r.URL.RequestURI(), RequestType: r.Header.Get("Content-Type"), RequestBody: c.body,
			Status: a.status, ResponseType: typ, ResponseBody: body, User: user, Version: c.version,
		})
	}
}

func (c *call) run(rt route) (*answer, error) {
	body, err := io.ReadAll(http.MaxBytesReader(nil, c.r.Body, maxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, refuse(http.StatusRequestEntityTooLarge, "BAD_REQUEST", "The request body is too large.")
	case err != nil:
		return nil, badRequest("The request body broke off after %d bytes.", len(body))
	}
	c.body, c.json = body, rt.json
	if rt.noAccept {
		// The version counts where there is one.
		if err := c.negotiate(); err != nil {
			c.version = ""
		}
	} else if err := c.negotiate(); err != nil {
		return nil, err
	}
	if !c.served() {
		return nil, notFound("%s does not exist in API version %s.", c.r.URL.Path, c.version)
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if !rt.public {
		if err := c.authenticate(); err != nil {
			return nil, err
		}
	}
	if rt.provider && !c.provider() {
		return nil, noRight("System Administrator", uuidIn(c.r.URL.Path))
	}
	if !rt.public {
		// A context that is not the caller's is refused wherever it is sent.
		if _, err := c.operatingOrg(); err != nil {
			return nil, err
		}
		if err := c.permitted(); err != nil {
			return nil, err
		}
	}
	if err := c.checkType(rt); err != nil {
		return nil, err
	}
	if writes(c.r) {
		// Before and after: handlers may let go of the mutex in between.
		c.s.touch()
		defer c.s.touch()
	}
	return rt.handle(c)
}

// checkType refuses a body of another type than the route takes.
func (c *call) checkType(rt route) error {
	if rt.takes == "" || rt.takes == "?" {
		return nil
	}
	ct := c.r.Header.Get("Content-Type")
	if ct == "" && rt.lenient && len(c.body) > 0 {
		return nil
	}
	typ, _, err := mime.ParseMediaType(ct)
	want := rt.takes + "+xml"
	if rt.json && c.sentJSON() {
		want = rt.takes + "+json"
	}
	if strings.HasPrefix(c.r.URL.Path, "/cloudapi/") {
		want = "application/json"
	}
	if err != nil || !strings.EqualFold(typ, want) && typ != "application/*+xml" && !(rt.json && typ == "application/*+json") {
		return refuse(http.StatusUnsupportedMediaType, "UNSUPPORTED_MEDIA_TYPE",
			"The content type %q is not supported; %s is.", ct, want)
	}
	return nil
}

func (c *call) failed(err error) *answer {
	var e *apiError
	if !errors.As(err, &e) {
		// What went wrong inside is not the client's business.
		e = refuse(http.StatusInternalServerError, "INTERNAL_SERVER_ERROR", "Internal Server Error")
	}
	if strings.HasPrefix(c.r.URL.Path, "/oauth/") {
		return &answer{status: e.status, json: map[string]any{"error": e.code, "error_description": e.message,
			"minorErrorCode": e.code, "message": "[ " + c.id + " ] " + e.message}}
	}
	if strings.HasPrefix(c.r.URL.Path, "/cloudapi/") {
		return &answer{status: e.status, json: map[string]any{
			"minorErrorCode": e.code, "message": "[ " + c.id + " ] " + e.message, "stackTrace": nil,
		}}
	}
	return &answer{status: e.status, typ: mediaVCloud + "error", doc: e.node(c.id)}
}

func (c *call) render(a *answer) (typ string, body []byte) {
	switch {
	case a.plain != "":
		return a.typ, []byte(a.plain)
	case a.doc != nil:
		c.trim(a.doc)
		b, err := document(a.doc)
		if err != nil {
			b = []byte(err.Error())
		}
		typ, body = a.typ+"+xml", b
		if a.typ == "text/xml" {
			typ = a.typ
		}
	case a.json != nil:
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		// Only maps, slices and strings come here.
		_ = enc.Encode(a.json)
		typ, body = "application/json", b.Bytes()
	default:
		return "", nil
	}
	if c.version != "" && a.typ != "text/xml" {
		typ += ";version=" + c.version
	}
	return typ, body
}

// href is the absolute address of a path.
func (s *Server) href(path string) string { return s.base + path }

func (c *call) path(name string) string { return c.r.PathValue(name) }

// flag says whether a query parameter is true. Letters of either case are, as
// Java reads them: Python's clients send True.
func (c *call) flag(name string) bool { return strings.EqualFold(c.query(name), "true") }

// query is a parameter of the query string, read without net/url's parser: it
// drops parameters that hold a bare semicolon.
func (c *call) query(name string) string {
	for part := range strings.SplitSeq(c.r.URL.RawQuery, "&") {
		k, v, _ := strings.Cut(part, "=")
		if k == name {
			return unescape(v)
		}
	}
	return ""
}
