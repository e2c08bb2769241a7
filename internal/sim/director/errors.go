package director

import (
	"fmt"
	"net/http"
)

// An apiError is what a request is refused with.
type apiError struct {
	status  int
	code    string // minorErrorCode
	message string
}

func (e *apiError) Error() string { return e.message }

func refuse(status int, code, format string, args ...any) *apiError {
	return &apiError{status, code, fmt.Sprintf(format, args...)}
}

func badRequest(format string, args ...any) *apiError {
	return refuse(http.StatusBadRequest, "BAD_REQUEST", format, args...)
}

// missing is the answer for an entity that does not exist. vCD does not tell
// it from one that the user may not see, whoever asks.
func missing(kind, id string) *apiError {
	return refuse(http.StatusForbidden, "ACCESS_TO_RESOURCE_IS_FORBIDDEN",
		"The VMware Cloud Director entity com.vmware.vcloud.entity.%s:%s does not exist.", kind, id)
}

func noAccess(kind, id string) *apiError {
	return refuse(http.StatusForbidden, "ACCESS_TO_RESOURCE_IS_FORBIDDEN",
		"No access to entity \"com.vmware.vcloud.entity.%s:%s\".", kind, id)
}

func noRight(right, id string) *apiError {
	return refuse(http.StatusForbidden, "ACCESS_TO_RESOURCE_IS_FORBIDDEN",
		"Either you need some or all of the following rights [%s] to perform operations [%s] for %s or the target entity is invalid.",
		right, right, id)
}

func notFound(format string, args ...any) *apiError {
	return refuse(http.StatusNotFound, "NOT_FOUND", format, args...)
}

func busy(what, name string) *apiError {
	return refuse(http.StatusBadRequest, "BUSY_ENTITY", "The entity %s %s is busy completing an operation.", what, name)
}

func invalidState(format string, args ...any) *apiError {
	return refuse(http.StatusBadRequest, "INVALID_STATE", format, args...)
}

// node is the error as a document.
func (e *apiError) node(request string) *node {
	return el("Error", "message", "[ "+request+" ] "+e.message, "majorErrorCode", num(e.status), "minorErrorCode", e.code)
}
