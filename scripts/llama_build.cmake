# Given to llama.cpp's build by setup.sh, to have its server in a third of the time: nothing is optimised but the
# numerical kernels, and the 150 small model definitions are compiled in a few large units. Deferred to the end of the
# top folder, because the targets do not exist before.
if(NOT DEFINED SIGNALBOX_LLAMA_BUILD)
  set(SIGNALBOX_LLAMA_BUILD ON)
  function(signalbox_llama_build)
    foreach(kernels ggml ggml-base ggml-cpu)
      target_compile_options(${kernels} PRIVATE -O2)
    endforeach()
    set_target_properties(llama PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 20)
    # Only the models; of these not gemma3n, which defines a function that its neighbour defines too.
    get_target_property(sources llama SOURCES)
    list(FILTER sources EXCLUDE REGEX "models/[^/]*\\.cpp$")
    list(APPEND sources models/gemma3n.cpp)
    list(TRANSFORM sources PREPEND "${CMAKE_SOURCE_DIR}/src/")
    set_source_files_properties(${sources} TARGET_DIRECTORY llama PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  endfunction()
  cmake_language(DEFER DIRECTORY "${CMAKE_SOURCE_DIR}" CALL signalbox_llama_build)
endif()
