# A console that somebody has left logs out after a quarter of an hour at the prompt. A program that runs is not ended.
TMOUT=900
readonly TMOUT
export TMOUT
# Also for a shell that did not come by a login, which /etc/security/limits.d is for.
ulimit -c 0
