# Completion for runner-secretsd and runner-secrets in bash; read by itself from
# /etc/bash_completion.d.

# The options of the daemon's command $1; those that end in = take a value.
_runner_secretsd_options() {
  case $1 in
    '') echo --config= --help --version ;;
    serve | check-config | 'policy test') echo --config= --help ;;
    doctor) echo --json --config= --help ;;
    completions | setup | policy | audit) echo --help ;;
    'policy explain') echo --token= --spec= --json --config= --help ;;
    'policy grants') echo --secret= --csv --json --config= --help ;;
    'setup azure')
      echo --gitlab= --project= --group= --branch= --tag= --environment= --protected --vault= \
        --secret= --name= --audience= --managed-identity= --format= --help
      ;;
    'audit verify') echo --public-key= --head= --from-checkpoint= --json --config= --help ;;
    'audit query')
      echo --since= --until= --project= --vault= --secret= --user= --reason= --request= --csv \
        --json --config= --help
      ;;
    'audit export') echo --output= --since= --until= --public-key= --config= --help ;;
  esac
}

# The commands below the daemon's command $1.
_runner_secretsd_commands() {
  case $1 in
    '') echo serve check-config doctor policy setup audit completions ;;
    policy) echo explain grants test ;;
    setup) echo azure ;;
    audit) echo verify query export ;;
    completions) echo bash zsh fish ;;
  esac
}

# Takes words for COMPREPLY that begin with what is typed.
_runner_secrets_offer() {
  local IFS=$' \t\n'
  mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2")
}

_runner_secretsd() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
  local command='' word index takes=''
  COMPREPLY=()
  for ((index = 1; index < COMP_CWORD; index++)); do
    word=${COMP_WORDS[index]}
    if [[ $takes ]]; then
      takes=''
    elif [[ $word == -* ]]; then
      [[ " $(_runner_secretsd_options "$command") " == *" $word= "* ]] && takes=$word
    elif [[ " $(_runner_secretsd_commands "$command") " == *" $word "* ]]; then
      command=${command:+$command }$word
    fi
  done
  if [[ $takes && $prev == "$takes" ]]; then
    case $takes in
      --config | --token | --spec | --public-key | --from-checkpoint)
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        ;;
      --output) mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
      --format) _runner_secrets_offer 'az terraform' "$cur" ;;
    esac
  elif [[ $cur == -* ]]; then
    _runner_secrets_offer "$(_runner_secretsd_options "$command" | tr -d =)" "$cur"
  else
    _runner_secrets_offer "$(_runner_secretsd_commands "$command")" "$cur"
    case $command in
      'policy test' | 'audit '*) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
    esac
  fi
}

_runner_secrets() {
  local cur=${COMP_WORDS[COMP_CWORD]}
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    _runner_secrets_offer 'env exec get explain doctor release --help --version' "$cur"
    return
  fi
  case ${COMP_WORDS[1]} in
    doctor | explain) _runner_secrets_offer '--json --help' "$cur" ;;
    env | get | release) _runner_secrets_offer '--help' "$cur" ;;
    exec)
      if ((COMP_CWORD == 2)); then
        _runner_secrets_offer '-- --help' "$cur"
      elif ((COMP_CWORD == 3)); then
        mapfile -t COMPREPLY < <(compgen -c -- "$cur")
      else
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
      fi
      ;;
  esac
}

complete -o filenames -F _runner_secretsd runner-secretsd
complete -o filenames -F _runner_secrets runner-secrets
