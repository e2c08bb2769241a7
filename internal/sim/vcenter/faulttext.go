package vcenter

import (
	"bytes"
	"net/http"
	"regexp"
)

// faultTexts is what vCenter says beside a fault that vcsim leaves without a
// word.
var faultTexts = map[string]string{
	"NoPermission":     "Permission to perform this operation was denied.",
	"NotAuthenticated": "The session is not authenticated.",
	"MethodDisabled":   "The method is disabled.",
	"InvalidLogin":     "Cannot complete login due to an incorrect user name or password.",
	"InvalidArgument":  "A specified parameter was not correct.",
	"InvalidState":     "The operation is not allowed in the current state.",
	"NotSupported":     "The operation is not supported on the object.",
	"NotFound":         "The object or item referred to could not be found.",
	"AlreadyExists":    "The specified key, name, or identifier already exists.",
	"DuplicateName":    "The name already exists.",
}

var (
	silentFault = []byte("<faultstring></faultstring>")
	loginFault  = []byte("<faultstring>Login failure</faultstring>")
	faultKind   = regexp.MustCompile(`<detail><\w+Fault [^>]*xsi:type="(\w+)"`)
)

// A faultWriter gives faults their text.
type faultWriter struct {
	http.ResponseWriter
	version string // SOAPAction of the request
	failed  bool
}

func (w *faultWriter) WriteHeader(status int) {
	w.failed = status == http.StatusInternalServerError
	w.ResponseWriter.WriteHeader(status)
}

// Write is called once, with the whole answer.
func (w *faultWriter) Write(p []byte) (int, error) {
	if !w.failed {
		_, err := w.ResponseWriter.Write(w.asTyped(p))
		return len(p), err
	}
	said := silentFault
	if bytes.Contains(p, loginFault) {
		said = loginFault
	}
	kind := faultKind.FindSubmatch(p)
	if kind == nil || faultTexts[string(kind[1])] == "" {
		return w.ResponseWriter.Write(p)
	}
	text := []byte("<faultstring>" + faultTexts[string(kind[1])] + "</faultstring>")
	_, err := w.ResponseWriter.Write(bytes.Replace(p, said, text, 1))
	return len(p), err
}

// Clients that check types do not read an enumeration without a value, nor a
// property that the version they ask for does not have.
var (
	noState   = []byte("<faultToleranceState></faultToleranceState>")
	someState = []byte("<faultToleranceState>notConfigured</faultToleranceState>")
	sixth     = regexp.MustCompile(`urn:vim25/[2-6]\.`)
	tenants   = regexp.MustCompile(`<tenantManager[^>]*>[^<]*</tenantManager>`) // since 6.9.1
)

func (w *faultWriter) asTyped(p []byte) []byte {
	p = bytes.ReplaceAll(p, noState, someState)
	if sixth.MatchString(w.version) && bytes.Contains(p, []byte("<RetrieveServiceContentResponse")) {
		p = tenants.ReplaceAll(p, nil)
	}
	return p
}
